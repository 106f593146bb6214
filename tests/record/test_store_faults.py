"""A checkpoint that cannot be used says so before anything is spent, and one that fails loses nothing that it had."""

import errno
import os
import shutil
import signal
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from llm_api_client.errors import CheckpointError
from llm_api_client.record import database, faults, lock
from llm_api_client.record.store import Store, read_rows

from .checkpoints import answer, answered, asked, changed, claim, failed, key, opened, output_of, process


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.db"


@pytest.fixture
def kept(path):
    """A checkpoint with thirty answers."""
    with opened(path) as run:
        run.write([claim(key(99))], [(key(number), answered(answer("w" * 500))) for number in range(30)])
    return path


@contextmanager
def refused(*texts):
    """What opening must be told, naming the file."""
    with pytest.raises(CheckpointError) as caught:
        yield
    assert "labels.db" in str(caught.value)
    for text in texts:
        assert text in str(caught.value)


def cut(path, size):
    with path.open("r+b") as file:
        file.truncate(size)


class TestOpening:
    def test_a_folder_that_is_not_there(self, tmp_path):
        """The folder is named; it is not made."""
        with refused("there is no folder", "missing", "Make it first"):
            Store.open(tmp_path / "missing" / "labels.db")
        assert not list(tmp_path.iterdir())

    def test_a_folder_instead_of_a_file(self, path):
        """A path that is a folder is told from a file."""
        path.mkdir()
        with refused("it is a folder"):
            Store.open(path)

    def test_a_pipe_instead_of_a_file(self, path):
        """What is no regular file is not waited for."""
        os.mkfifo(path)
        with refused("not a regular file"):
            Store.open(path)
        with refused("not a regular file"):
            next(read_rows(path))

    @pytest.mark.parametrize("content", [b"model,prompt\n" * 100, b"{}", b"\0" * 5_000], ids=["csv", "json", "zeros"])
    def test_a_file_that_is_not_sqlite_s(self, path, content):
        """Somebody's other file is left as it is, and nothing is left beside it."""
        path.write_bytes(content)
        for use in (Store.open, lambda path: next(read_rows(path))):
            with refused("not an SQLite file"):
                use(path)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("script", ["CREATE TABLE t (a)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"])
    @pytest.mark.parametrize("mode", ["delete", "wal"])
    def test_another_program_s_file(self, path, script, mode):
        """An SQLite file that is no checkpoint is left as it is."""
        changed(path, f"PRAGMA journal_mode = {mode}; {script}")
        before = path.read_bytes()
        for use in (Store.open, lambda path: next(read_rows(path))):
            with refused("SQLite file of another program"):
                use(path)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("missing", [1, 511, 512, 5_000, 12_000])
    def test_a_file_that_is_cut_off(self, kept, missing):
        """A file whose end is missing is found so when it is opened, and is not written into."""
        cut(kept, kept.stat().st_size - missing)
        before = kept.read_bytes()
        with refused("can't be opened" if missing >= 512 else "cut off", ".recover"):
            Store.open(kept)
        assert kept.read_bytes() == before

    def test_a_file_that_is_damaged(self, kept):
        """Pages that make no sense are found when the file is opened."""
        size = kept.stat().st_size
        with kept.open("r+b") as file:
            file.seek(size // 1024 * 512)
            file.write(b"\xff" * 2048)
        with refused("is damaged", ".recover"):
            Store.open(kept)

    def test_damage_that_opening_does_not_find(self, kept, monkeypatch):
        """In a file too large to be read through, damage is an error where it is met, and no answer."""
        monkeypatch.setattr(database, "CHECKED_BYTES", 0)
        with kept.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * (kept.stat().st_size - 8192))
        with opened(kept) as run, refused("can't be read", "damaged"):
            for number in range(30):
                run.find(key(number))
        with refused("damaged"):
            list(read_rows(kept))

    def test_an_sqlite_that_is_too_old(self, path, monkeypatch):
        """The version that is needed is named before a file is made."""
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        with refused("3.37 is needed"):
            Store.open(path)
        assert not path.exists()

    def test_a_file_system_without_locks(self, path, monkeypatch):
        """Where the lock cannot be had, the reason is the system's own."""

        def flock(*_):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("fcntl.flock", flock)
        with refused("can't be opened", os.strerror(errno.ENOLCK)):
            Store.open(path)

    def test_a_file_that_another_program_holds(self, kept, monkeypatch):
        """A lock of another program's is waited for only for a while, and then named."""
        monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.01)
        with opened(kept) as run, closing(sqlite3.connect(kept, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with refused("can't be written", "another program holds it locked"):
                run.write([], [(key(40), answered())])
            other.execute("ROLLBACK")
            run.write([], [(key(40), answered())])
            assert run.find(key(40)) is not None

    def test_nothing_to_read(self, path):
        """Reading makes no file."""
        with refused("there is no such file"):
            next(read_rows(path))
        assert not path.exists()

    @pytest.mark.parametrize("pid", ["", "nonsense", "9" * 30])
    def test_a_lock_whose_owner_has_not_said_its_name(self, path, pid):
        """Another process that is just taking the lock has it all the same."""
        import fcntl

        beside = Path(f"{path}-lock")
        with beside.open("w") as file:
            file.write(pid)
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
            with refused("in use by another process"):
                Store.open(path)

    def test_a_lock_that_is_left_over(self, path):
        """The lock's file of a process that was killed holds up nobody."""
        Path(f"{path}-lock").write_text("1")
        with opened(path):
            assert Path(f"{path}-lock").read_text() == str(os.getpid())
        assert not Path(f"{path}-lock").exists()

    def test_a_lock_that_goes_while_it_is_taken(self, path, monkeypatch):
        """A lock on a file that its last owner took away in between is no lock: it is taken again."""
        looked, is_at = [], lock._is_at

        def taken_away_once(file, beside):
            if not looked:
                beside.unlink()
            looked.append(file)
            return is_at(file, beside)

        monkeypatch.setattr(lock, "_is_at", taken_away_once)
        with opened(path), refused("in use"):
            lock_again = lock.ProcessLock
            try:
                lock_again(path)
            except lock.HeldError as held:
                raise faults.in_use(path, held.pid) from None
        assert len(looked) == 3


@pytest.fixture
def folder():
    """A folder of a user who is bound by permissions, as root is not."""
    name = Path(tempfile.mkdtemp())
    user = os.geteuid()
    if user == 0:
        os.chown(name, 65534, -1)
        os.seteuid(65534)
    yield name
    for found in (name, *name.iterdir()):
        found.chmod(0o700)
    os.seteuid(user)
    shutil.rmtree(name)


class TestPermissions:
    def test_a_file_that_may_not_be_written(self, folder):
        """A read-only file is refused before anything is made beside it; it can be read."""
        path = folder / "labels.db"
        with opened(path) as run:
            run.write([], [(key(), answered())])
        path.chmod(0o400)
        with refused("permission to read and write the file"):
            Store.open(path)
        assert list(folder.iterdir()) == [path]
        assert len(list(read_rows(path))) == 1

    def test_a_file_that_may_not_be_read(self, folder):
        """Who may not read it is told so."""
        path = folder / "labels.db"
        path.touch()
        path.chmod(0)
        with refused("permission to read it"):
            next(read_rows(path))

    def test_a_folder_that_may_not_be_written(self, folder):
        """A read-only folder is refused, with a file in it or without; what is in it can be read."""
        path = folder / "labels.db"
        with opened(path) as run:
            run.write([], [(key(), answered())])
        folder.chmod(0o500)
        for name in (path, folder / "new labels.db"):
            with refused("permission to write into the folder"):
                Store.open(name)
        assert len(list(read_rows(path))) == 1

    def test_a_folder_that_may_not_be_entered(self, folder):
        """Where nothing can be seen at all, permission is what is missing."""
        (folder / "closed").mkdir()
        (folder / "closed").chmod(0)
        with refused("permission is missing"):
            Store.open(folder / "closed" / "labels.db")


class TestWriting:
    def test_a_full_disk(self, kept):
        """A group that has no room is not written, in no part; what there is stays, and later groups may have room."""
        with opened(kept) as run:
            size = run._store._writer.execute("PRAGMA page_count").fetchone()[0]
            run._store._writer.execute(f"PRAGMA max_page_count = {size + 4}")
            with refused("can't be written", "disk is full", "Make room"):
                run.write([claim(key(60))], [(key(99), failed()), (key(50), answered(answer("w" * 20_000)))])
            assert run.find(key(50)) is None
            assert run.find(key(7)).response == answer("w" * 500)
            run._store._writer.execute("PRAGMA max_page_count = 1000000")
            run.write([], [(key(51), answered())])
        states = [row["state"] for row in read_rows(kept)]
        assert sorted(states) == ["answered"] * 31 + ["possibly paid"]
        assert asked(kept, "PRAGMA quick_check") == [("ok",)]

    def test_a_disk_that_is_really_full(self, path):
        """Where the system itself refuses to write, acknowledged groups are there, and no others."""
        code = """if True:
            import resource
            store = Store.open(path)
            run = store.run()
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            written = 0
            try:
                for number in range(1_000):
                    run.write([claim(key(number))], [])
                    run.write([], [(key(number), answered(answer("w" * 900)))])
                    written += 1
            except Exception as error:
                print(written, type(error).__name__, error)
            sys.stdout.flush()
            os._exit(0)
        """
        told = output_of(code, path)
        written = int(told.split()[0])
        assert 20 < written < 300
        assert "CheckpointError" in told
        assert "See that the disk works and has room" in told
        assert len([row for row in read_rows(path) if row["state"] == "answered"]) == written
        with opened(path) as run:
            assert all(run.find(key(number)) for number in range(written))
            assert run.find(key(written)) is None
            run.write([], [(key(written), answered())])
        assert asked(path, "PRAGMA quick_check") == [("ok",)]

    def test_a_disk_that_is_full_at_the_beginning(self, path):
        """Where there is no room for the file itself, opening says so, and leaves what opens later."""
        code = """if True:
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
            try:
                Store.open(path)
            except Exception as error:
                print(type(error).__name__, error)
        """
        assert "CheckpointError" in output_of(code, path)
        with opened(path) as run:
            run.write([], [(key(), answered())])

    def test_the_system_s_own_word_for_a_full_disk(self, path):
        """No room for a file beside it is a full disk too."""
        with refused("disk is full"), faults.explained(path, "opened"):
            raise OSError(errno.ENOSPC, "No space left on device")

    @pytest.mark.parametrize("part", ["", "-wal"])
    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_file_that_is_taken_away(self, kept, part, replaced):
        """What would be written into a file that nobody finds again is refused."""
        gone = Path(f"{kept}{part}")
        with opened(kept) as run:
            run.write([], [(key(40), answered())])
            gone.rename(f"{kept}.gone")
            if replaced:
                shutil.copy(f"{kept}.gone", gone)
            with refused("was removed or replaced", gone.name):
                run.write([], [(key(41), answered())])
            assert run.find(key(41)) is None
            Path(f"{kept}.gone").rename(gone)
            run.write([], [(key(42), answered())])
        with opened(kept) as run:
            assert [run.find(key(number)) is not None for number in (40, 41, 42)] == [True, False, True]

    def test_a_folder_that_is_taken_away(self, tmp_path):
        """A whole folder that goes is an error of the next group, and closing still ends."""
        folder = tmp_path / "folder"
        folder.mkdir()
        with opened(folder / "labels.db") as run:
            shutil.rmtree(folder)
            with refused("was removed or replaced"):
                run.write([], [(key(), answered())])


class TestKilled:
    def test_killed_in_the_midst_of_writing(self, path):
        """After kill -9 the file opens, is sound, and has every answer that was acknowledged; claims tell the rest."""
        code = """if True:
            run = Store.open(path).run()
            begin = int(sys.argv[2])
            print("ready", flush=True)
            for number in range(begin, begin + 100_000, 3):
                keys = [key(number + step) for step in range(3)]
                run.write([claim(key) for key in keys], [])
                run.write([], [(key, answered(answer("w" * 700))) for key in keys])
                print(number, flush=True)
        """
        seen = 0
        for round_ in range(4):
            begin = round_ * 100_000
            with process(code, path, begin) as child:
                assert child.stdout.readline() == "ready\n"
                for _ in range(20 + 17 * round_):
                    acknowledged = int(child.stdout.readline())
                child.send_signal(signal.SIGKILL)
                rest = child.stdout.read().split("\n")[:-1]
                acknowledged = int(rest[-1]) if rest else acknowledged
            store = Store.open(path)
            assert store._writer.execute("PRAGMA quick_check").fetchall() == [("ok",)]
            with closing(store.run()) as run:
                assert all(run.find(key(number)) for number in range(begin, acknowledged + 3))
                found = [number for number in range(acknowledged + 3, acknowledged + 9) if run.find(key(number))]
                assert found in ([], [acknowledged + 3, acknowledged + 4, acknowledged + 5])
                run.write([], [], [key(number) for number in range(acknowledged + 3, acknowledged + 9)])
            assert store.possibly_paid in (0, 3)
            store.close()
            seen += acknowledged + 3 - begin
        assert seen <= len(list(read_rows(path))) <= seen + 12

    @pytest.mark.parametrize("statement", ["CREATE TABLE answers", "CREATE VIEW", "PRAGMA user_version", "COMMIT"])
    def test_killed_while_the_file_is_made(self, path, statement):
        """What is left of a file that was being made opens."""
        code = """if True:
            import signal
            from llm_api_client.record import database
            connected = database.connected

            def watched(*args):
                connection = connected(*args)
                connection.set_trace_callback(
                    lambda text: text.strip().startswith(sys.argv[2]) and os.kill(os.getpid(), signal.SIGKILL)
                )
                return connection

            database.connected = watched
            Store.open(path)
        """
        with process(code, path, statement) as child:
            assert child.wait(timeout=60) == -signal.SIGKILL
        with opened(path) as run:
            run.write([], [(key(), answered())])
        assert len(list(read_rows(path))) == 1

    def test_a_process_that_does_not_close(self, path):
        """One that ends without closing has lost nothing, and nobody waits for it."""
        code = "run = Store.open(path).run()\nrun.write([claim(key(2))], [(key(1), answered())])\nos._exit(0)"
        output_of(code, path)
        assert {row["state"] for row in read_rows(path)} == {"answered", "possibly paid"}
        with opened(path) as run:
            assert run.find(key(1)) is not None
