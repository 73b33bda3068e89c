"""Folders of small files for tests of readers."""


def write(folder, files):
    """Write name -> text or bytes below `folder`, and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder
