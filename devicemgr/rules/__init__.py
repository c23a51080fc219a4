"""What the kubelet's Device Manager does, item by item, and why: Markdown pages, and :mod:`.book`, which reads them.

Start with ``README.md`` in this folder, or with ``python -m devicemgr rule --list``.

``book``  reads the pages; ``README.md`` is their table of contents
"""
