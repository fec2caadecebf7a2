"""What a hostile mitigation may try: each attack ends with the error that it meets, or without one where it succeeds.

A plugin file: `PLACES` in a JSON file beside it says where everything is, so that no attack fails for not knowing.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from w2s_bench import hookimpl

HERE = Path(__file__).parent
PLACES = json.loads((HERE / "places.json").read_text())
TRUTH = PLACES["truth"]
LIBC = ctypes.CDLL(None, use_errno=True)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, mode="wb"):
    with open(path, mode) as file:
        file.write(b"mine")


def system(name, *arguments):
    """Calls a function of the C library; OSError where it fails."""
    result = getattr(LIBC, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


try:
    read(TRUTH)
    AT_IMPORT = None
except OSError as error:
    AT_IMPORT = error


def import_time():
    if AT_IMPORT:
        raise AT_IMPORT


def walk_up():
    place = Path.cwd()
    while not (place / "referee").is_dir():
        place = place.parent
    list(place.joinpath("referee").rglob("*"))
    os.listdir(place)


def truth_by_chdir():
    os.chdir(os.path.dirname(TRUTH))
    read(os.path.basename(TRUTH))


def truth_by_symlink():
    os.symlink(TRUTH, "link")
    read("link")


def truth_by_hard_link():
    os.link(TRUTH, "link")
    read("link")


def truth_by_handle():
    """By file handle, which root opens without a path."""
    handle, mount = ctypes.create_string_buffer(136), ctypes.c_int()
    ctypes.c_uint.from_buffer(handle).value = 128
    system("name_to_handle_at", -100, TRUTH.encode(), handle, ctypes.byref(mount), 0)
    folder = os.open(".", os.O_RDONLY)
    os.close(system("open_by_handle_at", folder, handle, os.O_RDONLY))


def truth_by_child():
    done = subprocess.run(["cat", TRUTH], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(13, done.stderr)


def truth_by_daemon():
    """In a process forked twice, in a session of its own."""
    there, here = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            try:
                read(TRUTH)
                os.write(here, b"0")
            except OSError as error:
                os.write(here, str(error.errno).encode())
        os._exit(0)
    code = int(os.read(there, 9))
    if code:
        raise OSError(code, os.strerror(code))


def replace_record():
    Path("record").write_text("{}")
    os.replace("record", PLACES["record"])


def handles_of_parent():
    for name in os.listdir(f"/proc/{os.getppid()}/fd"):
        os.open(f"/proc/{os.getppid()}/fd/{name}", os.O_RDWR)


def read_parent():
    taken = ctypes.create_string_buffer(8)
    here, there = (ctypes.c_ulong * 2)(ctypes.addressof(taken), 8), (ctypes.c_ulong * 2)(id(None), 8)
    system("process_vm_readv", os.getppid(), here, 1, there, 1, 0)  # a fork has everything where its parent has it


def connect_in_child():
    code = f"import socket; socket.create_connection(('127.0.0.1', {PLACES['port']}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(13, done.stderr.strip().splitlines()[-1])


def abstract_socket():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + PLACES["abstract"])


def leave_socket():
    """As a meeting point with a worker that knows the truth."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")


def inherited():
    """Looks for files and pipes that it did not open."""
    own = [str(Path.cwd().parent / "log.txt"), "/dev/null", f"/proc/{os.getpid()}/fd"]
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            if os.readlink(f"/proc/self/fd/{name}") not in own:
                return
    raise PermissionError(13, "nothing to read")


def honest():
    """What plugins do."""
    Path("notes.txt").write_text("mine")
    with tempfile.TemporaryFile() as file:
        file.write(b"mine")
    assert Path(tempfile.mkdtemp()).parent == Path.cwd()
    os.rename("notes.txt", tempfile.mkdtemp() + "/moved")
    assert subprocess.run(["cat", "/proc/self/status"], capture_output=True, check=True).stdout
    assert len(os.urandom(8)) == 8 and read("/proc/cpuinfo") and read(__file__) and read("../job.json")
    os.write(os.memfd_create("mine"), b"mine")
    mmap.mmap(-1, 4096).close()
    there, here = multiprocessing.get_context("fork").Pipe()
    if os.fork() == 0:
        here.send(os.getpid())
        os._exit(0)
    os.kill(there.recv(), signal.SIGKILL)
    socket.socketpair()
    import sklearn.linear_model
    import transformers

    assert sklearn.linear_model and transformers


SIMPLE = {
    "truth_by_path": lambda: read(TRUTH),
    "truth_by_dots": lambda: read(os.path.relpath(TRUTH)),
    "truth_by_root": lambda: read("/proc/self/root" + TRUTH),
    "truth_by_cwd": lambda: read("/proc/self/cwd/" + os.path.relpath(TRUTH)),
    "truth_by_spelling": lambda: read(TRUTH.replace("/", "//./").encode()),
    "truth_by_mount": lambda: system("mount", TRUTH.encode(), b".", None, 4096, None),
    "truth_by_chroot": lambda: os.chroot(os.path.dirname(TRUTH)),
    # An option of this mitigation names the cache, and one the store.
    "truth_by_option": lambda: os.listdir(PLACES["cache"]),
    "ceiling": lambda: read(PLACES["ceiling"]),
    "scores": lambda: read(PLACES["scores"]),
    "list_store": lambda: os.listdir(PLACES["store"]),
    "list_jobs": lambda: os.listdir("../.."),
    "folder_of_parent": lambda: os.readlink(f"/proc/{os.getppid()}/cwd"),
    "folder_of_neighbour": lambda: read(PLACES["job"]),
    "change_record": lambda: write(PLACES["record"], "r+b"),
    "cut_record": lambda: os.truncate(PLACES["record"], 0),
    "remove_record": lambda: os.unlink(PLACES["record"]),
    "add_record": lambda: write(os.path.join(PLACES["store"], "records", "mine.json")),
    "change_cache": lambda: write(PLACES["tokens"], "r+b"),
    "add_to_cache": lambda: write(os.path.join(os.path.dirname(PLACES["tokens"]), "mine.npz")),
    # Large files of its inputs are links to the referee's.
    "change_inputs": lambda: write("../in/votes.npz", "r+b"),
    "change_libraries": lambda: write(os.path.join(PLACES["library"], "sitecustomize.py")),
    "change_itself": lambda: write(__file__, "ab"),
    "leave_at_home": lambda: write(os.path.expanduser("~/.w2s-was-here")),
    "leave_in_tmp": lambda: write("/tmp/w2s-was-here"),
    "leave_in_shared_memory": lambda: write("/dev/shm/w2s-was-here"),
    "make_device": lambda: os.mknod("memory", 0o600 | 0o020000, os.makedev(1, 1)),
    "memory_of_parent": lambda: read(f"/proc/{os.getppid()}/mem"),
    "environment_of_parent": lambda: read(f"/proc/{os.getppid()}/environ"),
    "trace_parent": lambda: system("ptrace", 16, os.getppid(), 0, 0),
    "take_handle": lambda: system("syscall", 438, os.pidfd_open(os.getppid()), 1, 0),
    "kill_parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "kill_group_of_parent": lambda: os.killpg(os.getpgid(os.getppid()), signal.SIGKILL),
    "stop_referee": lambda: os.kill(PLACES["referee"], signal.SIGSTOP),
    "kill_by_handle": lambda: signal.pidfd_send_signal(os.pidfd_open(PLACES["referee"]), signal.SIGKILL),
    "wait_for_connections": lambda: socket.create_server(("127.0.0.1", 0)),
    "connect": lambda: socket.create_connection(("127.0.0.1", PLACES["port"]), timeout=5),
}
OTHERS = (
    import_time,
    walk_up,
    truth_by_chdir,
    truth_by_symlink,
    truth_by_hard_link,
    truth_by_handle,
    truth_by_child,
    truth_by_daemon,
    replace_record,
    handles_of_parent,
    read_parent,
    connect_in_child,
    abstract_socket,
    leave_socket,
    inherited,
    honest,
)
ATTACKS = SIMPLE | {attack.__name__: attack for attack in OTHERS}


class Attack:
    """Tries one thing."""

    @dataclass
    class Options:
        way: str = "honest"
        """What it tries."""
        doors: str = ""
        """A path that it would like to read."""

    def __init__(self, options):
        self.options = options

    @hookimpl
    def revise_labels(self, labels):
        ATTACKS[self.options.way]()
        return labels


@hookimpl
def register_mitigations(register):
    register("attack", Attack)
