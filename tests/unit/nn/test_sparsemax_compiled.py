"""C code for rows: where it cannot be compiled, nobody notices."""

import sys

import pytest
import torch

from mvcn.nn.sparsemax import (
    WORTH_COMPILING,
    _project_by_sorting,
    for_each_row,
    project_rows,
    row_library,
    sparsemax,
)

LARGE = (WORTH_COMPILING // 64, 64)


@pytest.fixture
def nothing_compiled():
    row_library.cache_clear()
    yield
    row_library.cache_clear()


def scores(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def write_compiler(folder, code):
    compiler = folder / "cc"
    compiler.write_text(f"#!{sys.executable}\n{code}\n", "utf-8")
    compiler.chmod(0o755)


@pytest.mark.parametrize(
    "code",
    [
        None,
        "raise SystemExit(1)",
        "import sys; open(sys.argv[-1], 'w').write('no library')",
        "import sys; print('warning'); print('warning', file=sys.stderr)",
    ],
    ids=["no compiler", "it fails", "it writes something else", "it writes nothing"],
)
def test_without_a_working_compiler_torch_computes_and_nothing_is_said(
    nothing_compiled, tmp_path, monkeypatch, capfd, code
):
    monkeypatch.setenv("PATH", str(tmp_path))
    if code is not None:
        write_compiler(tmp_path, code)
    rows = scores(*LARGE)
    assert row_library(rows.dtype) is None
    torch.testing.assert_close(sparsemax(rows), _project_by_sorting(rows), atol=1e-6, rtol=0)
    assert capfd.readouterr() == ("", "")


def test_without_a_folder_for_temporary_files_torch_computes(
    nothing_compiled, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert row_library(torch.float32) is None


def test_leaves_no_file_behind(nothing_compiled, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    row_library(torch.float32)
    assert list(tmp_path.iterdir()) == []


def test_other_types_are_left_to_torch():
    assert row_library(torch.float16) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_of_another_type_is_read_as_it_is_meant(dtype):
    library = row_library(dtype)
    if library is None:
        pytest.skip("there is no C compiler")
    weights = project_rows(library, scores(500, 64).to(dtype))
    gradient = scores(500, 64).half()
    expected = for_each_row(library.center_rows, weights, gradient.to(dtype))
    assert torch.equal(for_each_row(library.center_rows, weights, gradient), expected)


def test_small_tensors_compile_nothing(nothing_compiled):
    sparsemax(scores(LARGE[0] - 1, 64).requires_grad_()).sum().backward()
    assert row_library.cache_info().currsize == 0


def test_the_number_of_threads_does_not_matter():
    rows, results = scores(*LARGE), []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(sparsemax(rows))
    torch.set_num_threads(before)
    assert torch.equal(*results)
