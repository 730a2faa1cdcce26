"""The run folder: how what stands there is replaced."""

from search.storage.folder import replace_folder


def test_a_replaced_folder_is_kept_beside_the_new_one(tmp_path):
    for name, text in (("final", "old"), ("final.fresh", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text(text)
    replace_folder(tmp_path / "final.fresh", tmp_path / "final")
    assert (tmp_path / "final" / "model").read_text() == "new"
    assert (tmp_path / "final.previous" / "model").read_text() == "old"
