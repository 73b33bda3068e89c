"""What commands say on the terminal."""

from mvcn.cli.process import print_problems


def test_a_post_that_was_left_out_is_named_once(capsys):
    print_problems({"1": "it is gone", "2": "it is empty"}, {"2": "nothing is left"}, "blank")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "1 image could not be read; its post was used without it:",
        "  post '1': it is gone",
        "1 post was left out:",
        "  post '2': nothing is left",
    ]
    print_problems({"1": "it is gone", "2": "it is empty"}, {}, "blank")
    heading = capsys.readouterr().err.splitlines()[0]
    assert heading == "2 images could not be read; their posts were used without them:"
    print_problems({}, {}, "error")
    assert capsys.readouterr().err == ""
