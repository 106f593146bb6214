"""A cache whose file cannot be used says so when it is opened; one that fails later fails no request."""

import os
import shutil
import signal
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from llm_api_client.errors import ConfigurationError
from llm_api_client.record import cache_file, database
from llm_api_client.record.cache import ResponseCache
from llm_api_client.record.store import Store
from llm_api_client.testing import FakeClock

from .checkpoints import answer, answered, asked, changed, output_of, process

ONE, TWO = b"1" * 16, b"2" * 16
IMPORTS = "from llm_api_client.record.cache import ResponseCache\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.db"


@pytest.fixture
def kept(path):
    """A cache with thirty answers."""
    with ResponseCache(path) as cache:
        for number in range(30):
            cache.put(bytes([number]) * 16, answered(answer("w" * 3_000)))
    return path


@contextmanager
def refused(*texts):
    """What opening must be told, naming the file."""
    with pytest.raises(ConfigurationError) as caught:
        yield
    for text in ("cache.db", *texts):
        assert text in str(caught.value)


def warnings_in(caplog):
    return [record.message for record in caplog.records]


class TestOpening:
    def test_places_where_no_file_can_be(self, tmp_path, path):
        """A missing folder, a folder, and a pipe are told apart, and nothing is made."""
        with refused("there is no folder", "Make it first"):
            ResponseCache(tmp_path / "missing" / "cache.db")
        path.mkdir()
        with refused("it is a folder"):
            ResponseCache(path)
        path.rmdir()
        os.mkfifo(path)
        with refused("not a regular file"):
            ResponseCache(path)
        assert list(tmp_path.iterdir()) == [path]

    def test_a_file_that_is_not_sqlite_s(self, path):
        """Somebody's other file is left as it is."""
        path.write_bytes(b"model,prompt\n" * 100)
        with refused("not an SQLite file"):
            ResponseCache(path)
        assert path.read_bytes() == b"model,prompt\n" * 100
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("script", ["CREATE TABLE t (a)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"])
    def test_another_program_s_file(self, path, script):
        """An SQLite file that is no cache is left as it is."""
        changed(path, script)
        before = path.read_bytes()
        with refused("SQLite file of another kind"):
            ResponseCache(path)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]

    def test_a_checkpoint_is_no_cache(self, path):
        """A checkpoint is not taken for a cache, though it is this library's."""
        Store.open(path).close()
        with refused("of another kind"):
            ResponseCache(path)

    def test_a_later_version_s_file(self, kept):
        """What a later version wrote is not guessed at."""
        changed(kept, "PRAGMA user_version = 99")
        with refused("has version 99", "knows up to 1", "Upgrade"):
            ResponseCache(kept)

    @pytest.mark.parametrize("harm", ["overwritten", "cut"])
    def test_a_damaged_file(self, kept, harm):
        """Damage is found when the file is opened, and the way out is said: a cache fills again."""
        with kept.open("r+b") as file:
            if harm == "cut":
                file.truncate(kept.stat().st_size - 5_000)
            else:
                file.seek(8_192)
                file.write(b"\xff" * 20_000)
        with refused("is damaged", "Delete it"):
            ResponseCache(kept)

    def test_an_sqlite_that_is_too_old(self, path, monkeypatch):
        """The version that is needed is named before a file is made."""
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        with refused("3.37 is needed"):
            ResponseCache(path)
        assert not path.exists()

    def test_a_file_that_another_program_holds(self, path, monkeypatch):
        """Another program's lock is waited for only for a while, and then named."""
        monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.01)
        path.touch()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with refused("another program holds it locked"):
                ResponseCache(path)

    def test_a_file_that_another_process_is_making(self, kept, monkeypatch):
        """A file that appears between looking and making is opened, and its maker's next step is waited for."""
        changed(kept, "PRAGMA journal_mode = delete")
        with closing(sqlite3.connect(kept, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            monkeypatch.setattr(database.time, "sleep", lambda _: other.execute("ROLLBACK"))
            monkeypatch.setattr(Path, "exists", lambda _: False)
            with ResponseCache(kept) as cache:
                assert len(cache) == 30
        assert asked(kept, "PRAGMA journal_mode") == [("wal",)]

    def test_a_file_that_another_process_has_just_made(self, kept, monkeypatch):
        """Who saw an empty file looks again before making tables in it."""
        seen, look = [0], database._cache_version
        monkeypatch.setattr(database, "_cache_version", lambda *args: seen.pop() if seen else look(*args))
        with ResponseCache(kept) as cache:
            assert len(cache) == 30

    def test_an_empty_file(self, path):
        """A file that was begun and not made, as by a process that was killed, becomes a cache."""
        path.touch()
        with ResponseCache(path) as cache:
            cache.put(ONE, answered())
            assert len(cache) == 1


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


def test_permissions(folder):
    """A read-only file, and a read-only folder, are refused before anything is made beside them."""
    path = folder / "cache.db"
    ResponseCache(path).close()
    path.chmod(0o400)
    with refused("permission to read and write the file"):
        ResponseCache(path)
    path.chmod(0o600)
    folder.chmod(0o500)
    with refused("permission to write into the folder"):
        ResponseCache(path)
    assert list(folder.iterdir()) == [path]


class TestInUse:
    def test_a_full_disk(self, kept, caplog):
        """An answer that has no room is not kept, and nothing is raised; what there is stays, and is found."""
        clock = FakeClock()
        with ResponseCache(kept, clock=clock) as cache:
            connection = cache._shelf._connection
            connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
            cache.put(ONE, answered(answer("w" * 100_000)))
            assert cache.get(ONE) is None
            assert cache.get(bytes(16)).response == answer("w" * 3_000)
            connection.execute("PRAGMA max_page_count = 1000000")
            cache.put(ONE, answered())
            assert cache.get(ONE) is None
            clock.advance(cache_file.PAUSE_SECONDS)
            cache.put(ONE, answered())
            assert cache.get(ONE) is not None
        [said] = warnings_in(caplog)
        assert "can't be written: the disk is full. Make room. Requests go on without it." in said

    def test_a_disk_that_is_really_full(self, path):
        """Where the system itself refuses to write, the process goes on, and the file stays sound."""
        code = IMPORTS + (
            "import resource\n"
            "cache = ResponseCache(path)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))\n"
            "for number in range(300):\n"
            "    cache.put(number.to_bytes(16, 'big'), answered(answer('w' * 900)))\n"
            "print(sum(cache.get(number.to_bytes(16, 'big')) is not None for number in range(300)), flush=True)\n"
            "os._exit(0)\n"
        )
        with process(code, path) as child:
            out, err = child.communicate(timeout=60)
        assert "See that the disk works and has room" in err
        assert "Traceback" not in err
        assert 20 < int(out) < 300
        with ResponseCache(path) as cache:
            assert len(cache) == int(out)
        assert asked(path, "PRAGMA quick_check") == [("ok",)]

    def test_a_lock_that_is_not_given_back(self, kept, monkeypatch, caplog):
        """Another program's lock costs one wait, not one for each answer; reading goes on."""
        monkeypatch.setattr(database, "CACHE_PATIENCE_SECONDS", 0.01)
        clock = FakeClock()
        with ResponseCache(kept, clock=clock) as cache, closing(sqlite3.connect(kept, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            tried = []
            cache._shelf._connection.set_trace_callback(tried.append)
            for _ in range(3):
                cache.put(ONE, answered())
            assert tried == ["BEGIN IMMEDIATE"]
            assert cache.get(bytes(16)) is not None
            other.execute("ROLLBACK")
            clock.advance(cache_file.PAUSE_SECONDS)
            cache.put(ONE, answered())
            assert cache.get(ONE) is not None
        [said] = warnings_in(caplog)
        assert "another program holds it locked" in said

    def test_damage_that_opening_does_not_find(self, kept, monkeypatch, caplog):
        """In a file too large to be read through, damage is a miss, and is said once."""
        monkeypatch.setattr(database, "CHECKED_BYTES", 0)
        with kept.open("r+b") as file:
            file.seek(8_192)
            file.write(b"\xff" * (kept.stat().st_size - 8_192))
        clock = FakeClock()
        with ResponseCache(kept, clock=clock) as cache:
            for number in range(30):
                assert cache.get(bytes([number]) * 16) is None
                clock.advance(cache_file.PAUSE_SECONDS)
            assert cache.misses == 30
            with refused("can't be cleared", "damaged"):
                cache.clear()
        assert len([said for said in warnings_in(caplog) if "can't be read: it is damaged" in said]) == 1

    @pytest.mark.parametrize("text", ["{", "[" * 100_000])
    def test_an_answer_that_cannot_be_read(self, kept, caplog, text):
        """One bad entry is a miss, until its request's next answer."""
        changed(kept, "UPDATE entries SET response = ? WHERE identity = ?", text, bytes(16))
        with ResponseCache(kept) as cache:
            assert cache.get(bytes(16)) is None
            assert cache.get(bytes(16)) is None
            assert cache.get(b"\1" * 16) is not None
            cache.put(bytes(16), answered())
            assert cache.get(bytes(16)) is not None
            assert (cache.hits, cache.misses) == (2, 2)
        assert len(warnings_in(caplog)) == 1

    def test_an_answer_that_cannot_be_made_again(self, path, caplog):
        """Whatever a maker of objects raises, the request is asked."""

        def revive(response_type, data):
            raise LookupError(response_type, data)

        class Odd:
            def model_dump(self):
                return {"secret": "text"}

        with ResponseCache(path) as cache:
            cache.bind(revive)
            cache.put(ONE, answered(Odd()))
            assert cache.get(ONE) is None
        [said] = warnings_in(caplog)
        assert "LookupError" in said
        assert "text" not in said

    def test_an_interrupt_in_the_midst_of_writing(self, kept, monkeypatch):
        """Ctrl-C between two statements leaves nothing half written, and no lock."""
        with ResponseCache(kept, max_entries=1) as cache:
            with monkeypatch.context() as patched:
                patched.setattr(cache._shelf, "_make_room", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    cache.put(ONE, answered())
            assert cache.get(ONE) is None
            assert len(cache) == 30
            cache.put(ONE, answered())
            assert len(cache) == 1

    def test_a_file_that_a_child_cannot_open(self, path, caplog):
        """Where a forked child finds no cache in its parent's place, its requests are sent."""
        cache = ResponseCache(path)
        cache._shelf.disown().close()
        path.write_bytes(b"These are notes." * 100)
        with cache:
            assert cache.get(ONE) is None
            cache.put(ONE, answered())
            with refused("not an SQLite file"):
                cache.clear()
        assert [said.count("Requests go on without it") for said in warnings_in(caplog)] == [1, 1]
        assert path.read_bytes() == b"These are notes." * 100


def interrupt(*_):
    raise KeyboardInterrupt


class TestProcesses:
    def test_making_one_file_at_once(self, tmp_path):
        """Whoever comes while another makes the file waits for it, and neither makes it twice nor fails."""
        code = IMPORTS + (
            "for number in range(5):\n"
            "    print(flush=True)\n"
            "    sys.stdin.readline()\n"
            "    with ResponseCache(f'{path}/{number}.db') as cache:\n"
            "        cache.put(sys.argv[2].encode(), answered())\n"
        )
        children = [process(code, tmp_path, child) for child in range(3)]
        for _ in range(5):
            assert [child.stdout.readline() for child in children] == ["\n"] * 3
            for child in children:
                child.stdin.write("\n")
                child.stdin.flush()
        assert [child.communicate(timeout=60) for child in children] == [("", "")] * 3
        for number in range(5):
            assert asked(tmp_path / f"{number}.db", "SELECT entries FROM totals") == [(3,)]

    def test_many_at_once(self, path):
        """Processes that fill and read one file together lose nothing, and need no warning."""
        code = IMPORTS + (
            "first = int(sys.argv[2])\n"
            "sys.stdin.readline()\n"
            "with ResponseCache(path) as cache:\n"
            "    for number in range(100):\n"
            "        cache.put(bytes([first, number]), answered(answer(str(number))))\n"
            "        assert cache.get(bytes([first, number])).response == answer(str(number))\n"
        )
        children = [process(code, path, first) for first in range(4)]
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        for child in children:
            assert child.communicate(timeout=60) == ("", "")
            assert child.returncode == 0
        with ResponseCache(path) as cache:
            assert len(cache) == 400
            assert all(cache.get(bytes([first, number])) for first in range(4) for number in range(100))
        assert asked(path, "SELECT entries FROM totals") == [(400,)]

    def test_a_killed_process(self, path):
        """After kill -9 the file opens, is sound, and has every answer that was put."""
        code = IMPORTS + (
            "cache = ResponseCache(path)\n"
            "for number in range(100_000):\n"
            "    cache.put(number.to_bytes(16, 'big'), answered(answer('w' * 700)))\n"
            "    print(number, flush=True)\n"
        )
        with process(code, path) as child:
            for _ in range(200):
                put = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().split("\n")[:-1]
            put = int(rest[-1]) if rest else put
        with ResponseCache(path) as cache:
            assert len(cache) in (put + 1, put + 2)
            assert all(cache.get(number.to_bytes(16, "big")) for number in range(put + 1))
        assert asked(path, "PRAGMA quick_check") == [("ok",)]

    def test_a_forked_child(self, path):
        """A child has a connection of its own, also where the parent held the lock, and leaves the parent's."""
        code = IMPORTS + (
            "cache = ResponseCache(path)\n"
            "cache.put(b'parent', answered())\n"
            "inherited = cache._shelf._connection\n"
            "with cache._shelf._lock:\n"
            "    child = os.fork()\n"
            "if child == 0:\n"
            "    assert cache.get(b'parent') is not None\n"
            "    cache.put(b'child', answered())\n"
            "    assert cache._shelf._connection is not inherited\n"
            "    cache.close()\n"
            "    os._exit(0)\n"
            "assert os.waitpid(child, 0)[1] == 0\n"
            "assert cache.get(b'child') is not None\n"
            "cache.put(b'parent again', answered())\n"
            "cache.close()\n"
            "print('well')\n"
        )
        assert output_of(code, path) == "well"
        with ResponseCache(path) as cache:
            assert len(cache) == 3
