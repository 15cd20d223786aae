"""How files are read and replaced: regular ones only, all at once, with nothing left behind."""

import multiprocessing
import os
import socket
import stat
import threading

import numpy as np
import pytest

import skgbnf
from skgbnf._files import read_file, replace_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, pipes and devices of POSIX")


@pytest.fixture(scope="module")
def model(quick, table2):
    return quick(flow="affine", n_estimators=1).fit(table2)


def pipe(folder):
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def link_to_a_pipe(folder):
    (folder / "link").symlink_to(pipe(folder))
    return folder / "link"


def a_socket(folder):
    with socket.socket(socket.AF_UNIX) as bound:
        before = os.getcwd()
        os.chdir(folder)  # names of sockets must be short
        bound.bind("socket")
        os.chdir(before)
    return folder / "socket"


def device(folder):
    return "/dev/zero"


def link_to_a_device(folder):
    (folder / "link").symlink_to("/dev/null")
    return folder / "link"


@pytest.mark.parametrize("kind", [pipe, link_to_a_pipe, a_socket, device, link_to_a_device])
def test_what_is_no_regular_file_is_refused_and_stays(model, quick, table2, tmp_path, kind):
    path = kind(tmp_path)
    before = sorted(os.listdir(tmp_path)), os.lstat(path)[:4], os.stat(path)[:4]
    with pytest.raises(OSError, match=r"not a regular file") as error:
        skgbnf.load(path)
    assert os.fspath(path) in str(error.value)
    with pytest.raises(OSError, match=r"not a regular file") as error:
        skgbnf.save(model, path)
    assert os.fspath(path) in str(error.value)
    with pytest.raises(ValueError, match=r"checkpoint: .* it is no regular file"):
        quick(checkpoint=path).fit(table2)
    assert (sorted(os.listdir(tmp_path)), os.lstat(path)[:4], os.stat(path)[:4]) == before


def test_a_folder_is_refused(model, tmp_path):
    for path in (tmp_path, f"{tmp_path}{os.sep}"):
        with pytest.raises(IsADirectoryError, match="folder"):
            skgbnf.load(path)
        with pytest.raises(IsADirectoryError, match="folder"):
            skgbnf.save(model, path)
    with pytest.raises(IsADirectoryError, match="names a folder"):
        skgbnf.save(model, f"{tmp_path}{os.sep}new{os.sep}")
    assert not list(tmp_path.iterdir())


def test_an_empty_path_is_refused(model, quick, table2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (lambda: skgbnf.save(model, ""), lambda: skgbnf.load("")):
        with pytest.raises(ValueError, match="path must name a file, got ''"):
            call()
    with pytest.raises(ValueError, match="checkpoint: cannot write ''"):
        quick(checkpoint="").fit(table2)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="a file of Linux")
def test_a_file_that_says_it_is_empty_is_not_read_on():
    with pytest.raises(ValueError, match="not a readable skgbnf model"):
        skgbnf.load("/proc/self/pagemap")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_a_file_keeps_its_mode(model, tmp_path, mode):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(mode)
    skgbnf.save(model, path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert skgbnf.load(path).n_estimators_ == 1


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_fresh_file_has_the_mode_of_the_mask(model, tmp_path, mask):
    before = os.umask(mask)
    try:
        skgbnf.save(model, tmp_path / "model")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o666 & ~mask


def test_a_file_that_was_private_is_never_open_to_others(tmp_path, monkeypatch):
    path, modes = tmp_path / "model", []
    path.write_bytes(b"old")
    path.chmod(0o600)
    monkeypatch.setattr("os.fsync", lambda descriptor: modes.append(os.fstat(descriptor).st_mode))
    replace_file(path, b"new")
    assert [stat.S_IMODE(mode) for mode in modes] == [0o600]


@pytest.mark.parametrize("suffix", [".partial", ".tmp", "~"])
def test_names_beside_the_path_are_left_alone(model, tmp_path, suffix):
    path, beside, elsewhere = tmp_path / "model", tmp_path / f"model{suffix}", tmp_path / "other"
    elsewhere.write_bytes(b"mine")
    beside.symlink_to(elsewhere)
    skgbnf.save(model, path)
    assert beside.is_symlink()
    beside.unlink()
    beside.write_bytes(b"mine too")
    skgbnf.save(model, path)
    assert elsewhere.read_bytes() == b"mine"
    assert beside.read_bytes() == b"mine too"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["model", beside.name, "other"])


def test_a_link_whose_end_is_missing_leads_to_the_new_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "model")
    replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "model").read_bytes() == b"new"


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call, error):
    path = tmp_path / "model"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(call, fail)
        with pytest.raises(type(error)) as raised:
            replace_file(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert read_file(path) == b"old"
    if isinstance(error, OSError):
        assert (raised.value.errno, raised.value.filename) == (28, str(path))


def test_errors_name_the_path_of_the_user(model, tmp_path):
    path = tmp_path / "missing" / "model"
    with pytest.raises(FileNotFoundError) as error:
        skgbnf.save(model, path)
    assert error.value.filename == str(path)
    path = tmp_path / ("x" * 300)
    with pytest.raises(OSError, match="too long") as error:
        skgbnf.save(model, path)
    assert error.value.filename == str(path)
    skgbnf.save(model, tmp_path / ("x" * 255))


def save_often(path, n_times, number):
    content = np.full(20_000, number, np.uint8).tobytes()
    for _ in range(n_times):
        replace_file(path, content)
        # Another one's perhaps, but a whole one.
        assert len(set(read_file(path))) == 1


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_savers_at_the_same_time_do_not_disturb_each_other(tmp_path, kind):
    path, failures = tmp_path / "model", []
    if kind == "processes":
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=save_often, args=(path, 20, i)) for i in range(3)]
    else:

        def try_to_save(number):
            try:
                save_often(path, 20, number)
            except BaseException as error:
                failures.append(error)

        workers = [threading.Thread(target=try_to_save, args=(i,)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    assert all(getattr(worker, "exitcode", 0) == 0 for worker in workers)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
