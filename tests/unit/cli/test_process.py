"""What commands say on the terminal."""

from mvcn.cli.process import format_table, print_problems


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("setting", "best"), ("a", "0.25"), ("long name", "1")]
    assert format_table(rows) == "setting    best\na          0.25\nlong name  1"
    assert format_table(rows, are_numbers=True) == (
        "setting    best\na          0.25\nlong name     1"
    )


def test_a_post_that_was_left_out_is_named_once(capsys):
    print_problems({"1": "it is gone", "2": "it is empty"}, {"2": "nothing is left"}, "blank")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "1 image(s) could not be read; their posts were used without it:",
        "  post 1: it is gone",
        "1 post(s) were left out:",
        "  post 2: nothing is left",
    ]
    print_problems({}, {}, "error")
    assert capsys.readouterr().err == ""
