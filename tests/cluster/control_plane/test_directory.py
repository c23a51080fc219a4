"""The directory of a cluster: one that is named is kept, whatever its name is."""

from __future__ import annotations

import tempfile

import pytest

from devicemgr.cluster.control_plane.directory import PREFIX, own_directory
from devicemgr.errors import DirectoryInUse, DirectoryUnusable


@pytest.fixture
def tmp(tmp_path, monkeypatch):
    """Where temporary directories are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_one_that_is_named_is_kept_also_by_the_next_cluster(tmp):
    named = tmp / f"{PREFIX}mine"
    with own_directory(named) as directory:
        (directory / "etcd.log").write_text("what etcd has said")
    with own_directory(None) as temporary:
        assert temporary != named
        assert (named / "etcd.log").exists()
    assert not temporary.exists()
    with own_directory(named) as again:
        assert again == named
        assert not (named / "etcd.log").exists()


def test_one_in_which_a_cluster_runs_is_left_alone(tmp):
    with own_directory(tmp / "it") as directory:
        (directory / "etcd.log").touch()
        with pytest.raises(DirectoryInUse, match="a cluster runs in .*/it: end it"), own_directory(tmp / "it"):
            pytest.fail("it is another one's")
        assert (directory / "etcd.log").exists()


def test_one_that_cannot_be_is_named(tmp):
    (tmp / "file").touch()
    with pytest.raises(DirectoryUnusable, match=f"{tmp}/file: File exists"), own_directory(tmp / "file"):
        pytest.fail("it is a file")
