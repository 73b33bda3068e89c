"""What `import mvcn` alone makes Hugging Face know, each in a process of its own."""

import subprocess
import sys

import pytest

LOAD = """
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoProcessor
for auto in (AutoConfig, AutoProcessor, AutoModel, AutoModelForSequenceClassification):
    print(type(auto.from_pretrained(sys.argv[1])).__name__)
import transformers
ask = transformers.pipeline("image-text-classification", model=sys.argv[1])
print(type(ask).__name__)
"""
FOUND = [
    "MvcnConfig",
    "MvcnProcessor",
    "MvcnForClassification",
    "MvcnForClassification",
    "ImageTextClassificationPipeline",
]


def printed(program, *arguments):
    command = [sys.executable, "-c", f"import sys; {program}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "first",
    [
        "import mvcn",
        "from transformers import AutoModel, pipeline; import mvcn",
        "import mvcn.encoders.loading",  # which needs Auto classes, and which the model needs
    ],
)
def test_auto_classes_and_pipeline_know_the_model(first, tiny_run):
    assert printed(f"{first}\n{LOAD}", tiny_run) == FOUND


def test_modules_of_auto_classes_keep_their_own_loader():
    program = "import mvcn, transformers.models.auto.configuration_auto as auto; import inspect"
    shown = "print(type(auto.__spec__.loader).__name__, type(auto.__loader__).__name__)"
    source = "print('class AutoConfig' in inspect.getsource(auto))"
    loader, has_source = printed(f"{program}; {shown}; {source}")
    assert (loader, has_source) == ("SourceFileLoader SourceFileLoader", "True")


def test_without_torch_nothing_is_registered_and_nothing_fails():
    program = "sys.modules['torch'] = None; import mvcn; from transformers import AutoConfig"
    assert printed(f"{program}; print('mvcn.models.configuration' in sys.modules)") == ["False"]
