"""Text and pixels become tensors in one place, the same on every machine."""

import copy
import hashlib
import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BertweetTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)
from transformers.image_processing_backends import PilBackend

from mvcn.errors import BadImageError, ConfigError, DataError
from mvcn.inputs.processor import MvcnProcessor, build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.runtime.text_counts import TextCounts
from mvcn.types import WORD_NUMBERS

CLS, SEP, PAD, UNKNOWN = 2, 3, 0, 1


@pytest.fixture(scope="module")
def processor(tiny_settings):
    return build_processor(ModelConfig(**tiny_settings, max_tokens=8))


def picture(mode="RGB", size=(40, 20)):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")
    return Image.fromarray(pixels).convert(mode)


def byte_tokenizer():
    """A tokenizer whose word pieces are the bytes of a text."""
    letters = {letter: number for number, letter in enumerate(ByteLevel.alphabet(), start=1)}
    by_bytes = Tokenizer(BPE({"<pad>": 0, **letters}, []))
    by_bytes.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=by_bytes, pad_token="<pad>")


def test_an_empty_text_is_its_two_marks(processor):
    assert processor.tokenize([""]) == [[CLS, SEP]]


def test_whitespace_is_normalized(processor):
    assert processor.tokenize(["\n a \t\u00a0 b "]) == processor.tokenize(["a b"])


def test_whitespace_is_normalized_for_tokenizers_that_read_it(tiny_settings):
    """As those of RoBERTa and GPT-2, to which each space is a byte."""
    processor = build_processor(ModelConfig(**tiny_settings))
    processor.tokenizer = byte_tokenizer()
    assert processor.tokenize(["  a \n b "]) == processor.tokenizer(["a b"])["input_ids"]
    assert len(processor.tokenizer("  a")["input_ids"]) == len("  a")


def test_unusual_whitespace_can_be_shown_to_the_encoder(tiny_settings):
    """Leading, trailing and repeated whitespace, which BERT's tokenizer drops."""
    processor = build_processor(ModelConfig(**tiny_settings, mark_whitespace=True))
    mark = processor.tokenize(["a \u00b7 b"])
    assert processor.tokenize(["a  b"]) == mark
    assert processor.tokenize(["a \t\n b"]) == mark
    assert processor.tokenize(["a b "]) == processor.tokenize(["a b \u00b7"])
    assert processor.tokenize([" a b"]) == processor.tokenize(["\u00b7 a b"])
    assert processor.tokenize(["a b"]) == processor.tokenize(["a\nb"]) != mark


def test_a_text_of_whitespace_is_no_text(processor):
    assert processor.tokenize(["  \n "]) == [[CLS, SEP]]
    assert processor(["  \n "], [None])["text_mask"].tolist() == [False]


def test_long_texts_are_cut_and_keep_their_marks(processor):
    (ids,) = processor.tokenize(["abcdefghijklmnop"])
    (whole,) = processor.tokenizer(["abcdefghijklmnop"])["input_ids"]
    assert ids == [*whole[:7], SEP]
    assert ids[0] == CLS


def test_no_text_at_all_gives_no_ids(processor):
    assert processor.tokenize([]) == []
    assert [*processor.tokenize_some([])] == []


def test_many_texts_are_tokenized_some_at_a_time(processor, monkeypatch):
    monkeypatch.setattr("mvcn.runtime.processing.TEXTS_AT_ONCE", 2)
    texts = ["ab", "abcdefghijklmnop", "cd"]
    ids = processor.tokenize(texts)
    assert [*processor.tokenize_some(texts)] == [(texts[:2], ids[:2]), (texts[2:], ids[2:])]
    shorter = [some for _, some in processor.tokenize_some(texts, 4)]
    assert [len(one) for some in shorter for one in some] == [4, 4, 4]


def test_a_text_is_never_read_as_a_mark_of_the_tokenizer_settings(processor):
    texts = ["ab", "a b", "AB"]
    assert [len(ids) for ids in processor.tokenize(texts)] == [4, 4, 4]


class TestEmoji:
    """The tiny vocabulary has letters, digits and punctuation, but no emoji."""

    @pytest.mark.parametrize(
        ("text", "same"),
        [
            ("ab\U0001f44d", "ab thumbs up"),
            ("\U0001f602" * 9 + "x", " ".join(["face with tears of joy"] * 3 + ["x"])),
            ("a\U0001f1e9\U0001f1ea!", "a germany !"),
        ],
    )
    def test_are_read_as_their_names(self, tiny_settings, text, same):
        processor = build_processor(ModelConfig(**tiny_settings, max_tokens=128))
        assert processor.tokenize([text]) == processor.tokenize([same])
        (counts,) = processor.count([text], processor.tokenize([text]))
        assert counts.unknown_word_pieces == 0

    def test_are_unknown_where_they_are_not_named(self, tiny_settings):
        processor = build_processor(ModelConfig(**tiny_settings, name_emoji=False))
        text = "ab\U0001f44d cd"
        assert processor.tokenize([text])[0].count(UNKNOWN) == 1
        assert processor.tokenize([text]) == processor.tokenize(["\U0001f44d cd"])  # ab is lost

    def test_that_the_vocabulary_has_are_kept(self):
        processor = build_processor(ModelConfig())
        hearts = "all \u2665 and\u2665"
        (ids,) = processor.tokenize([hearts])
        pieces = processor.tokenizer.convert_ids_to_tokens(ids)
        assert pieces == ["[CLS]", "all", "\u2665", "and", "##\u2665", "[SEP]"]
        assert processor.tokenize(["red \u2764"]) == processor.tokenize(["red red heart"])

    def test_are_kept_by_tokenizers_that_read_bytes(self, processor):
        tokenizer = byte_tokenizer()
        text = "love\U0001f60d \U0001f44d\U0001f3fd \u6211"
        for name_emoji in (True, False):
            one = MvcnProcessor(processor.image_processor, tokenizer, name_emoji=name_emoji)
            (ids,) = one.tokenize([text])
            assert len(ids) == len(text.encode())
            assert one.count([text], [ids]) == [TextCounts(1, 0, len(ids), 0, 64)]

    def test_word_pieces_stand_for_words_that_a_tokenizer_does_not_tell_apart(
        self, processor, tmp_path, caplog
    ):
        """That of BERTweet is written in Python."""
        caplog.set_level("INFO")
        vocabulary, merges = tmp_path / "vocab.txt", tmp_path / "bpe.codes"
        vocabulary.write_text("so 9\ngood 8\nd@@ 7\nay 6\n", "utf-8")
        merges.write_text("g o 9\ngo o 8\ngoo d</w> 7\ns o</w> 6\na y</w> 5\n", "utf-8")
        one = MvcnProcessor(
            processor.image_processor, BertweetTokenizer(str(vocabulary), str(merges))
        )
        (ids,) = one.tokenize(["so good day"])
        assert one.words("so good day") == [
            ("so", [1]),
            ("good", [2]),
            ("d@@", [3]),
            ("ay", [4]),
        ]
        assert len(ids) == 6
        assert "does not say where words begin" in caplog.text

    def test_are_one_word_each_in_explanations(self, tiny_settings):
        processor = build_processor(ModelConfig(**tiny_settings, max_tokens=128))
        text = "so good\U0001f44d\U0001f3fd  yes " + "\U0001f602" * 5
        words = processor.words(text)
        shown = ["so", "good", "\U0001f44d\U0001f3fd", "yes"]
        assert [word for word, _ in words] == [*shown, *["\U0001f602"] * 2, "\U0001f602" * 3]
        (ids,) = processor.tokenize([text])
        assert [place for _, places in words for place in places] == [*range(1, len(ids) - 1)]
        letters = processor.tokenizer.decode([ids[place] for place in words[2][1]])
        assert letters.replace(" ", "") == "thumbsupmediumskintone"

    @pytest.mark.parametrize("is_there", [True, False])
    def test_of_a_processor_of_an_earlier_version_are_not_named(
        self, processor, tmp_path, is_there
    ):
        processor.save_pretrained(tmp_path)
        path = tmp_path / "processor_config.json"
        saved = json.loads(path.read_text())
        assert saved["name_emoji"]
        if not is_there:
            del saved["name_emoji"]
            path.write_text(json.dumps(saved))
        assert MvcnProcessor.from_pretrained(tmp_path).name_emoji == is_there

    def test_leave_all_other_texts_as_they_were(self):
        """The digest is that of an earlier version."""
        texts = [
            *("", "plain words", "Gr\u00fc\u00dfe, na\u00efve caf\u00e9!", "  two  spaces "),
            "\u6211\u559c\u6b22 this \ud55c\uad6d\uc5b4",
            *("a\tb\n\nc :) <3 #tag @you", "1 # * 50%", "x" * 200),
            "zero\u200bwidth \u2026 \u2014 \u20ac",
        ]
        ids = build_processor(ModelConfig(mark_whitespace=True)).tokenize(texts)
        digest = hashlib.sha256(json.dumps(ids).encode()).hexdigest()
        assert digest == "7ddddf79e32a76166d8bc4c17dc9dfe9bbdb099c8b7b63af5e4fe8b544fba9f7"


class TestWords:
    @pytest.mark.parametrize(
        "unit", ["http://t.co/3IgkRJgQuc", "www.a.org/b?c=d", "@its_Jane", "#CarpeDiem"]
    )
    def test_addresses_mentions_and_hashtags_are_kept_whole(self, tiny_settings, unit):
        processor = build_processor(ModelConfig(**tiny_settings, max_tokens=128))
        text = f"it's ({unit}), @ 5 #"
        words = processor.words(text)
        shown = [word for word, _ in words]
        assert shown == ["it", "'", "s", "(", unit, ")", ",", "@", "5", "#"]
        (ids,) = processor.tokenize([text])
        assert [place for _, places in words for place in places] == [*range(1, len(ids) - 1)]


class TestCounts:
    def test_are_of_each_text(self, processor):
        texts = ["abcdef", "abcdefg", "", "a\u4e2d b", "a\u4e2d " * 9]
        ids = processor.tokenize(texts)
        assert processor.count(texts, ids) == [
            TextCounts(1, 0, 6, 0, 8),
            TextCounts(1, 1, 6, 0, 8),
            TextCounts(0, 0, 0, 0, 8),
            TextCounts(1, 0, 3, 1, 8),
            TextCounts(1, 1, 6, 3, 8),
        ]
        assert processor.count([], []) == []

    def test_find_nothing_unknown_where_a_mark_has_the_same_piece(self, tiny_settings):
        """As with GPT-2, which reads every byte: its piece for unknown words is the end's, too."""
        processor = build_processor(ModelConfig(**tiny_settings))
        processor.tokenizer.unk_token = "[SEP]"
        (counts,) = processor.count(["ab"], processor.tokenize(["ab"]))
        assert (counts.word_pieces, counts.unknown_word_pieces) == (2, 0)


class TestAutoTokens:
    @pytest.fixture
    def processor(self, tiny_settings):
        return build_processor(ModelConfig(**tiny_settings, max_tokens="auto"))

    @pytest.mark.parametrize(
        ("lengths", "expected"),
        [
            ([10] * 200, 64),
            ([10] * 99 + [100], 64),
            ([10] * 98 + [80, 100], 82),
            ([80] * 99 + [100], 82),
            ([100] * 3, 102),
            ([10] * 50 + [500] * 50, 128),
            ([], 64),
        ],
    )
    def test_are_what_nearly_all_texts_have(self, processor, lengths, expected):
        processor.choose_max_tokens(
            [" ".join("a" * length) for length in lengths], lambda limit: limit
        )
        assert processor.max_tokens == expected

    def test_are_no_more_than_the_encoder_reads(self, processor):
        processor.choose_max_tokens([" ".join("a" * 120)] * 3, lambda limit: min(limit, 70))
        assert processor.max_tokens == 70
        processor.choose_max_tokens([" ".join("a" * 120)] * 3, lambda limit: min(limit, 20))
        assert processor.max_tokens == 20

    def test_are_saved(self, processor, tmp_path):
        processor.choose_max_tokens([" ".join("a" * 98)] * 3, lambda limit: limit)
        processor.save_pretrained(tmp_path)
        assert MvcnProcessor.from_pretrained(tmp_path).max_tokens == 100

    @pytest.mark.parametrize(
        ("length", "expected"),
        [
            (30, ""),  # nothing changes
            (94, "96 word pieces, 100 % of them completely, which takes 1.3 times the work"),
            (126, "128 word pieces, 100 % of them completely, which takes 1.7 times the work"),
            (127, "128 word pieces, 50 % of them completely, which takes 1.7 times the work"),
        ],
    )
    def test_are_told_with_their_cost(self, processor, length, expected, caplog):
        with caplog.at_level(logging.INFO, "mvcn"):
            texts = [" ".join("a" * length), " ".join("a" * 30)]
            processor.choose_max_tokens(texts, lambda limit: limit)
        rest = " of 64 word pieces (--set model.max_tokens=64)."
        assert caplog.messages == ([f"Texts are read up to {expected}{rest}"] if expected else [])

    def test_of_a_model_that_nobody_trains_are_the_most_possible(self, tiny_settings):
        config = ModelConfig(**tiny_settings, max_tokens="auto")
        assert build_processor(config).max_tokens == 128
        assert build_model(config, ("a", "b")).most_tokens(128) == 128


def test_padding_goes_to_the_longest_and_is_masked(processor):
    padded = processor.pad([[CLS, 9, SEP], [CLS, SEP]])
    assert padded["input_ids"].tolist() == [[CLS, 9, SEP], [CLS, SEP, PAD]]
    assert padded["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_pixels_are_scaled_as_the_image_processor_says(processor):
    # White is 1 after scaling by 1/255; less the mean 0.5, over the deviation 0.5, that is 1.
    white = Image.new("RGB", (40, 20), "white")
    pixels = processor.pixels(white)
    assert pixels.shape == (3, 32, 32)
    np.testing.assert_allclose(pixels, 1)


def test_no_image_is_zeros_and_masked(processor):
    encoded = processor(["", "", ""], [None, picture(), None])
    assert encoded["image_mask"].tolist() == [False, True, False]
    assert not encoded["pixel_values"][[0, 2]].any()
    np.testing.assert_array_equal(encoded["pixel_values"][1], processor.pixels(picture()))
    assert processor([""], [None])["pixel_values"].shape == (1, 3, 32, 32)


def test_one_call_gives_all_inputs(processor):
    batch = processor(["two words", ""], [picture(), None])
    masks = {"attention_mask", "text_mask", "image_mask"}
    assert set(batch) == {"input_ids", "pixel_values"} | masks
    assert batch["text_mask"].tolist() == [True, False]
    assert {len(tensor) for tensor in batch.values()} == {2}


class TestCall:
    """What processors of Hugging Face accept."""

    def test_takes_one_post_or_lists_of_them(self, processor, tmp_path):
        path = tmp_path / "picture.png"
        picture().save(path)
        expected = processor(["two words"], [picture()])
        for image in (picture(), str(path), path, path.read_bytes(), np.asarray(picture())):
            for given in (image, [image], (image,)):
                found = processor(text="two words", images=given)
                assert found.keys() == expected.keys()
                assert all(torch.equal(found[name], expected[name]) for name in expected)

    def test_gives_arrays_or_tensors(self, processor):
        tensors = processor("ab", picture())
        arrays = processor("ab", picture(), return_tensors="np")
        assert all(isinstance(one, torch.Tensor) for one in tensors.values())
        for name, array in arrays.items():
            assert isinstance(array, np.ndarray)
            np.testing.assert_array_equal(array, tensors[name].numpy())
            assert array.dtype == tensors[name].numpy().dtype

    def test_of_text_alone_holds_no_pixels(self, processor):
        found = processor(["ab", ""])
        assert found.keys() == {"input_ids", "attention_mask", "text_mask", "image_mask"}
        assert found["text_mask"].tolist() == [True, False]
        assert found["image_mask"].tolist() == [False, False]

    def test_of_images_alone_holds_no_word_pieces(self, processor):
        found = processor(images=[picture(), None])
        assert found.keys() == {"pixel_values", "text_mask", "image_mask"}
        assert found["text_mask"].tolist() == [False, False]
        assert found["image_mask"].tolist() == [True, False]

    def test_of_both_holds_what_the_model_reads(self, processor):
        assert processor("ab", picture()).keys() == set(processor.model_input_names)

    @pytest.mark.parametrize("network", ["mvcn", "bert", "vit", "hsan"])
    @pytest.mark.parametrize("given", [("ab", True), ("ab", False), (None, True)])
    def test_goes_into_the_model_as_it_is(self, processor, tiny_settings, network, given):
        model = build_model(ModelConfig(**tiny_settings, network=network), ("a", "b")).eval()
        text, has_image = given
        image = picture() if has_image else None
        with torch.no_grad():
            found = model(**processor(text, image)).logits
            expected = model(**processor([text], [image])).logits
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)

    def test_a_missing_text_or_image_is_none_of_a_list(self, processor):
        found = processor([None, "ab", "cd"], [picture(), None, float("nan")])
        assert found["text_mask"].tolist() == [False, True, True]
        assert found["image_mask"].tolist() == [True, False, False]

    @pytest.mark.parametrize(
        ("options", "lengths"),
        [
            ({}, (8, 3)),
            ({"padding": "longest"}, (8, 3)),
            ({"max_length": 5}, (5, 3)),
            ({"max_length": 40}, (12, 3)),
            ({"truncation": False}, (12, 3)),
            ({"truncation": "do_not_truncate"}, (12, 3)),
            ({"truncation": "longest_first"}, (8, 3)),
            ({"truncation": False, "max_length": 5}, (12, 3)),
            ({"padding": "max_length"}, (8, 3)),
            ({"padding": "max_length", "max_length": 20}, (12, 3)),
        ],
    )
    def test_pads_and_truncates(self, processor, options, lengths):
        found = processor(["abcdefghij", "a"], **options)
        assert tuple(found["attention_mask"].sum(1).tolist()) == lengths
        is_fixed = options.get("padding") == "max_length"
        longest = options.get("max_length", 8) if is_fixed else lengths[0]
        assert found["input_ids"].shape == (2, longest)
        assert (found["input_ids"][found["attention_mask"] == 0] == PAD).all()

    @pytest.mark.parametrize(
        "options", [{"truncation": "only_second"}, *({"max_length": n} for n in (2, -1, "5", 4.0))]
    )
    def test_refuses_what_would_not_truncate(self, processor, options):
        (name,) = options
        with pytest.raises(ConfigError, match=rf"{name} is .*, but must be"):
            processor.__call__.__wrapped__(processor, ["abcdefghij"], **options)

    def test_decodes_numbered_word_pieces(self, processor):
        expected = processor.batch_decode(processor(["ab cd", "e"])["input_ids"])
        assert expected[0].startswith("[CLS]")
        numbered = copy.copy(processor)
        numbered.number_words = True
        ids = numbered(["ab cd", "e"])["input_ids"]
        assert ids.max() > numbered.tokenizer.vocab_size
        assert numbered.batch_decode(ids) == expected
        assert numbered.decode(ids[1], skip_special_tokens=True) == "e"

    @pytest.mark.parametrize("padding", [False, "do_not_pad"])
    def test_without_padding_texts_have_one_length(self, processor, padding):
        assert processor(["ab", "cd"], padding=padding)["input_ids"].shape == (2, 4)
        with pytest.raises(DataError, match=r"differ in their number .*: pass padding=True\."):
            processor(["ab", "c"], padding=padding)

    @pytest.mark.parametrize(
        ("text", "images", "message"),
        [
            (["a", "b"], [None], "2 texts and 1 image do not match: pass one image, or None"),
            ("a", [None, None], "1 text and 2 images do not match"),
            (None, None, "No post was passed"),
            ([], [], "No post was passed"),
            ([5], None, "text of a post must be a string, not int"),
        ],
    )
    def test_says_what_is_no_post(self, processor, text, images, message):
        with pytest.raises(DataError, match=message):
            processor.__call__.__wrapped__(processor, text, images)

    def test_reads_a_string_as_a_path_and_not_as_characters(self, processor):
        with pytest.raises(BadImageError, match=r"nowhere\.png"):
            processor("a", "nowhere.png")

    def test_fetches_nothing(self, processor):
        with pytest.raises(BadImageError, match="example"):
            processor("a", "https://example.com/a.png")

    @pytest.mark.parametrize("options", [{"return_tensors": "tf"}, {"padding": "right"}])
    def test_names_an_option_that_it_lacks(self, processor, options):
        (name,) = options
        with pytest.raises(ConfigError, match=f"{name} is '.*', but must be one of "):
            processor.__call__.__wrapped__(processor, "a", **options)


def test_what_is_saved_loads_the_same(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    posts = (["two words", ""], [picture(), None])
    for loaded in (
        MvcnProcessor.from_pretrained(tmp_path),
        MvcnProcessor.from_pretrained(str(tmp_path), local_files_only=True),
    ):
        assert loaded.max_tokens == 8
        for name, tensor in processor(*posts).items():
            assert torch.equal(loaded(*posts)[name], tensor), name


def test_pillow_is_the_backend_whatever_is_installed(processor, tmp_path, monkeypatch):
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    # The file names no backend, so that it loads where there is only one; loading names it.
    assert saved["image_processor"]["image_processor_type"] == "ViTImageProcessor"
    assert isinstance(MvcnProcessor.from_pretrained(tmp_path).image_processor, PilBackend)
    asked, load = [], AutoImageProcessor.from_pretrained

    def watched(folder, **options):
        asked.append(options["backend"])
        return load(folder, **options)

    monkeypatch.setattr(AutoImageProcessor, "from_pretrained", watched)
    MvcnProcessor.from_pretrained(tmp_path)
    assert asked == ["pil"]


def test_the_auto_class_finds_it_in_a_run(tiny_run):
    loaded = AutoProcessor.from_pretrained(tiny_run)
    assert isinstance(loaded, MvcnProcessor)
    assert isinstance(loaded.image_processor, PilBackend)


def test_more_tokens_than_the_encoder_reads_are_refused_at_once(tiny_settings):
    message = r"'model.max_tokens' is 129, but .* at most 128: use --set model.max_tokens=128\."
    with pytest.raises(ConfigError, match=message):
        build_processor(ModelConfig(**tiny_settings, max_tokens=129))


@pytest.fixture
def roberta(tmp_path, tiny_text_encoder):
    """Folder of a random RoBERTa of 20 positions, whose tokenizer knows of no limit."""
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=200,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=22,
        pad_token_id=1,
    )
    RobertaModel(config).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_text_encoder)
    tokenizer.model_max_length = 10**9
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def test_more_tokens_than_the_encoder_has_positions_are_refused_at_once(tiny_settings, roberta):
    settings = {**tiny_settings, "text_encoder": roberta}
    message = r"'model.max_tokens' is 21, but .* at most 20: use --set model.max_tokens=20\."
    with pytest.raises(ConfigError, match=message):
        build_model(ModelConfig(**settings, max_tokens=21), ("a", "b"))
    model = build_model(ModelConfig(**settings, max_tokens=20), ("a", "b")).eval()
    ids = build_processor(ModelConfig(**settings, max_tokens=20)).tokenize(["a" * 50])
    inputs = torch.tensor(ids)
    assert inputs.shape == (1, 20)
    pixels = torch.zeros(1, 3, 32, 32)
    assert model(inputs, torch.ones_like(inputs), pixels).logits.isfinite().all()


def test_a_network_that_reads_no_text_has_no_limit(tiny_settings, roberta):
    settings = {**tiny_settings, "text_encoder": roberta, "network": "vit"}
    assert build_model(ModelConfig(**settings, max_tokens=64), ("a", "b")).text_encoder is None


def test_words_are_numbered_alike_wherever_they_stand(tiny_settings):
    plain, numbered = (
        build_processor(ModelConfig(**tiny_settings, stack_linear=given)) for given in (False, True)
    )
    texts = ["Good bread good", "my 猫 x", ""]
    for ids, found in zip(plain.tokenize(texts), numbered.tokenize(texts), strict=True):
        assert [one % WORD_NUMBERS for one in found] == ids
        marks = [i for i, one in enumerate(ids) if one in plain.tokenizer.all_special_ids]
        unknown = plain.tokenizer.unk_token_id
        assert [i for i, one in enumerate(found) if one < WORD_NUMBERS] == [
            i for i in marks if ids[i] != unknown
        ]
    words = [
        [found[positions[0]] // WORD_NUMBERS for _, positions in numbered.words(text)]
        for text, found in zip(texts, numbered.tokenize(texts), strict=True)
    ]
    assert words[0][0] == words[0][2] != words[0][1]
    assert plain.count(texts, plain.tokenize(texts)) == numbered.count(
        texts, numbered.tokenize(texts)
    )


def test_words_that_the_vocabulary_lacks_have_numbers_of_their_own(tiny_settings):
    processor = build_processor(ModelConfig(**tiny_settings, stack_linear=True))
    one, other, same = processor.tokenize(["猫", "犬", "猫"])
    assert one == same != other
    assert [a % WORD_NUMBERS for a in one] == [a % WORD_NUMBERS for a in other]
