"""How the labels of a post's text and of its image make the label of the post."""

POLARITIES = ("positive", "neutral", "negative")


def merge_labels(text_label: str, image_label: str) -> str | None:
    """Return the polarity of the post, or None where its text and image contradict each other.

    Equal labels stay; neutral gives way to the other; positive against negative is contradictory.

    Source:
        Xu & Mao, CIKM 2017 (MultiSentiNet).
    """
    if image_label in (text_label, "neutral"):
        return text_label
    return image_label if text_label == "neutral" else None
