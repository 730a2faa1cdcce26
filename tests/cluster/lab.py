"""A lab of several hosts on this machine, for tests that crash one or cut one off the network.

A host is a set of Linux namespaces: its own processes, network, files and name. Of this machine it
sees the programs under ``/usr`` and the Python of the project, but no checkout and no home. Cables
join the hosts to a switch without an uplink, so that nothing outside is reached and two labs do
not meet. All of it ends with the process that made it, also when that is killed.

A lab takes real root and the programs of ``tools.py``; ``Lab.why_not`` says what is missing.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import psutil
from tools import MOUNTED_AT, SYSTEM_PATH, Tools, ToolsError, find

NETWORK = "10.77.0"
FIRST_ADDRESS = 10
CLIENT = "client"
# On the hosts: the checkout of the client, where `ray up` puts the project, what is shared.
CHECKOUT = Path("/root/project")
INSTALLED = Path("/root/fmnist-search")
SHARED = Path("/shared")
# At most so much for Ray's objects; it takes memory as it fills.
SHARED_MEMORY_BYTES = 2 * 1024**3
DAY_SECONDS = 24 * 3600
# Where a host puts its root together, in its folder.
ROOT = "root"

PROGRAMS = (
    "bash", "env", "git", "ip", "ldd", "mount", "nsenter", "pivot_root", "setpriv", "ssh",
    "ssh-keygen", "unshare",
)  # fmt: skip
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LOGNAME": "root",
    "PATH": SYSTEM_PATH,
    "SHELL": "/bin/bash",
    "USER": "root",
}
# What runs under it is killed when the thread that started it ends, however it ends.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
# Waits for the children that others left: otherwise `ray stop` takes 16 s, as they never go.
IDLE = "while :; do sleep 3600 & wait; done"

SWITCH = f"""
set -e
ip link add switch type bridge
ip link set switch up
echo up
exec >&2
{IDLE}
"""

# Process 1 of a host. It begins with a copy of the machine's mounts, and ends with a root of its
# own: so that what a host covers, as /tmp and /root, can be where its parts are taken from.
BOOT = f"""
set -e
umask 022
mount -t tmpfs -o mode=755 root {ROOT}
cd {ROOT}
mkdir -p dev etc home mnt old proc root run srv sys tmp usr var/log var/tmp
for name in bin sbin lib lib32 lib64; do
    if [ -L /$name ]; then cp -P /$name .
    elif [ -d /$name ]; then mkdir $name; mount --bind /$name $name
    fi
done
mount --rbind /dev dev
mount -t devpts -o newinstance,mode=620,ptmxmode=666 pts dev/pts
mount -t tmpfs -o mode=1777,size={SHARED_MEMORY_BYTES} shm dev/shm
mount --rbind /sys sys
mount -t proc proc proc
mount -t tmpfs -o mode=755 run run
mkdir run/sshd
# A machine that was started again is known by this number.
cat proc/sys/kernel/random/uuid >run/boot_id
mount --bind run/boot_id proc/sys/kernel/random/boot_id
{{mounts}}
pivot_root . old
umount --lazy /old
rmdir /old
echo {{name}} >/proc/sys/kernel/hostname
ip link set lo up
{{sshd}} -f /etc/ssh/sshd_config -E /var/log/sshd.log
echo up
exec >&2
{IDLE}
"""

SSHD_CONFIG = f"""\
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys
StrictModes no
UsePAM no
PrintMotd no
PrintLastLog no
SetEnv PATH={SYSTEM_PATH}
"""
SSHD_PARTS = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
SSH_CONFIG = """\
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
ConnectTimeout 10
"""
ACCOUNTS = "root:x:0:0:root:/root:/bin/bash\nsshd:x:74:65534::/run/sshd:/usr/sbin/nologin\n"
# Root without a password, yet not locked: sshd lets no locked account in.
PASSWORDS = "root:*:19000:0:99999:7:::\n"

# Whether this machine lets us make what a lab is made of.
PROBE = """
set -e
mkdir lower upper work merged
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
mount -t proc proc /proc
ip link add switch type bridge
ip link add port type veth peer name eth0
"""


class LabError(Exception):
    """The lab, or a host of it, cannot do what was asked."""


class Running(subprocess.Popen[str]):
    """A command on a host.

    A signal goes to the command itself and leaves its children alone; ``os.killpg(running.pid,
    ...)`` reaches them too. In both cases ``returncode`` tells how the command ended.
    """

    def send_signal(self, sig: int) -> None:
        """Send a signal to the command, unless it has ended."""
        try:
            commands = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return
        for command in commands:
            command.send_signal(sig)
        if not commands:  # it has ended, or has not begun
            super().send_signal(sig)


class Namespaces:
    """Namespaces of our own, and the process 1 in them, with which everything there ends.

    Args:
        script: What the shell that is process 1 runs; it prints a line as soon as all is ready.
        kinds: Options of ``unshare``, besides that for processes.
        folder: Where the script is put, and what it says; its paths may be relative to it.

    Raises:
        LabError: The script failed.
    """

    def __init__(self, script: str, *, kinds: Sequence[str], folder: Path) -> None:
        # In a file: on its command line it would be in every list of processes.
        (folder / "init.sh").write_text(script)
        log = folder / "init.log"
        with log.open("w") as errors:
            self._holder = subprocess.Popen(
                [*DIES_WITH_US, "unshare", *kinds, "--pid", "--fork", "--kill-child",
                 "sh", "./init.sh"],
                cwd=folder, env=ENVIRONMENT, text=True, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        with self._holder.stdout as output:
            is_up = bool(output.readline())
        if not is_up:
            self._holder.wait()
            raise LabError(f"no namespaces could be made: {_reason(log.read_text())}")
        [init] = psutil.Process(self._holder.pid).children()
        self.pid = init.pid

    def end(self) -> None:
        """Kill process 1 and with it all others there; returns when none is left."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._holder.wait()

    def ip(self, *commands: str) -> None:
        """Let ``ip`` carry out some commands in this network.

        Raises:
            LabError: One failed.
        """
        _run(
            "nsenter", f"--target={self.pid}", "--net", "ip", "-batch", "-",
            text="\n".join(commands),
        )  # fmt: skip


class Host:
    """One host of a lab; made by it.

    Args:
        name: Its host name.
        number: From 0, among all of the lab.
        folder: Keeps what survives a crash.
        venv: The virtual environment of which it gets a view of its own.
        tools: Where its ssh server and rsync are.
        switch: What its cable is plugged into.
        shared: Folder it sees at ``SHARED``, or None.

    Attributes:
        name: Its host name.
        address: Its IPv4 address.
        home: Its ``/root``, as seen from here.
        tmp: Its ``/tmp``, as seen from here; emptied when it boots.
        project: Where its virtual environment lies, as it sees it: the client's checkout, or
            where ``ray up`` puts the project.
    """

    def __init__(
        self,
        name: str,
        number: int,
        *,
        folder: Path,
        venv: Path,
        tools: Tools,
        switch: Namespaces,
        shared: Path | None,
    ) -> None:
        self.name = name
        self.address = _address(number)
        self.home = folder / "home"
        self.tmp = folder / "tmp"
        self.project = CHECKOUT if name == CLIENT else INSTALLED
        self._number = number
        self._folder = folder
        self._venv = venv
        self._tools = tools
        self._switch = switch
        self._shared = shared
        self._boots = 0
        self._namespaces: Namespaces | None = None
        self._commands: list[Running] = []

    @property
    def is_up(self) -> bool:
        """Whether the host runs."""
        return self._namespaces is not None

    @property
    def venv(self) -> Path:
        """Its own view of the virtual environment, as it sees it; what it writes there is its."""
        return self.project / ".venv"

    def boot(self) -> None:
        """Start the host, for the first time or after a crash; its ssh server listens at once.

        Raises:
            LabError: It is up already, or could not be started.
        """
        if self._namespaces:
            raise LabError(f"{self.name} is up")
        shutil.rmtree(self.tmp, ignore_errors=True)
        for folder in (self.home, self.tmp, self._folder / ROOT):
            folder.mkdir(parents=True, exist_ok=True)
        self.tmp.chmod(0o1777)
        self._namespaces = Namespaces(
            self._boot_script(),
            kinds=("--net", "--mount", "--uts", "--ipc"),
            folder=self._folder,
        )
        self._boots += 1
        self._plug_in(self._namespaces)

    def crash(self) -> None:
        """End the host as a power cut does: no process can say farewell, and no packet leaves.

        Raises:
            LabError: It is down.
        """
        self.cut_off()
        self.end()

    def end(self) -> None:
        """Take the host down, if it is up."""
        if self._namespaces:
            self._namespaces.end()
            self._namespaces = None
        for command in self._commands:
            command.wait()
        self._commands.clear()

    def cut_off(self) -> None:
        """Unplug its cable: what it sends is lost, what it has open stays open.

        Raises:
            LabError: It is down.
        """
        self._up()
        self._switch.ip(f"link set {self._port} down")

    def reconnect(self) -> None:
        """Plug its cable in again.

        Raises:
            LabError: It is down.
        """
        self._up()
        self._switch.ip(f"link set {self._port} up")

    def start(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/root",
        **options: Any,
    ) -> Running:
        """Start a command on the host, as root; it ends with the host.

        Args:
            command: Program and arguments; programs are looked for on the host's own PATH.
            env: Added to the environment of a fresh login; nothing comes from that of the test.
            cwd: Folder on the host that it starts in.
            options: For ``subprocess.Popen``. Default: standard input is empty.

        Raises:
            LabError: The host is down.
        """
        environment = [f"{name}={value}" for name, value in (ENVIRONMENT | dict(env or {})).items()]
        running = Running(
            [
                "nsenter", f"--target={self._up().pid}",
                "--mount", "--uts", "--ipc", "--net", "--pid",
                *DIES_WITH_US, "env", "--ignore-environment", f"--chdir={cwd}", *environment,
                *command,
            ],
            env=ENVIRONMENT, text=True, start_new_session=True,
            **{"stdin": subprocess.DEVNULL} | options,
        )  # fmt: skip
        self._commands.append(running)
        return running

    def run(
        self,
        command: Sequence[str | Path],
        *,
        timeout_seconds: float,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/root",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host to its end; see ``start``.

        Processes that it leaves in the background do not hold this up.

        Raises:
            LabError: The host is down.
            subprocess.TimeoutExpired: It took too long; it was killed with its children.
        """
        # Files, as a pipe stays open for as long as any process in the background has it.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            running = self.start(command, env=env, cwd=cwd, stdout=out, stderr=errors)
            try:
                running.wait(timeout_seconds)
            except subprocess.TimeoutExpired as error:
                error.cmd = list(map(str, command))
                error.add_note(f"on {self.name}:\n{_written(out)}{_written(errors)}")
                raise
            finally:
                if running.poll() is None:
                    os.killpg(running.pid, signal.SIGKILL)
                    running.wait()
                self._commands.remove(running)
            return subprocess.CompletedProcess(
                list(map(str, command)), running.returncode, _written(out), _written(errors)
            )

    def layer(self, target: Path) -> Path:
        """Folder, as seen from here, of what the host has of its own in its /usr, /etc or venv."""
        return self._folder / "own" / target.name

    @property
    def _port(self) -> str:
        # Another after each boot: the kernel takes its time to remove that of a host that crashed.
        return f"host{self._number}-{self._boots}"

    def _up(self) -> Namespaces:
        if not self._namespaces:
            raise LabError(f"{self.name} is down")
        return self._namespaces

    def _plug_in(self, namespaces: Namespaces) -> None:
        # The hardware address stays, as others remember it for a while.
        hardware = f"02:00:00:00:00:{self._number:02x}"
        self._switch.ip(
            f"link add {self._port} type veth"
            f" peer name eth0 address {hardware} netns {namespaces.pid}",
            f"link set {self._port} master switch up",
        )
        namespaces.ip(f"address add {self.address}/24 dev eth0", "link set eth0 up")

    def _boot_script(self) -> str:
        tools = self._tools.on_a_host()
        return BOOT.format(
            name=self.name,
            mounts="\n".join(map(shlex.join, self._mounts())),
            sshd=shlex.join(["env", f"LD_LIBRARY_PATH={tools.library_path}", str(tools.sshd)]),
        )

    def _mounts(self) -> Iterator[list[str]]:
        yield from self._overlay(Path("/usr"), Path("/usr"))
        yield from self._overlay(Path("/etc"), Path("/etc"))
        yield from _bind(self.home, Path("/root"))
        yield from _bind(self.tmp, Path("/tmp"))
        for prefix in _base_prefixes(self._venv):
            yield from _bind(prefix, prefix, read_only=True)
        yield from self._overlay(self._venv, self.venv)
        if self._tools.unpacked:
            yield from _bind(self._tools.unpacked, MOUNTED_AT, read_only=True)
        if self._shared:
            yield from _bind(self._shared, SHARED)

    def _overlay(self, lower: Path, target: Path) -> Iterator[list[str]]:
        upper, work = self.layer(target), self._folder / "work" / target.name
        for folder in (upper, work):
            folder.mkdir(parents=True, exist_ok=True)
        # Without the index: after a crash the kernel may still be at taking the last one apart.
        options = f"lowerdir={lower},upperdir={upper},workdir={work},index=off"
        yield ["mkdir", "-p", _in_root(target)]
        yield ["mount", "-t", "overlay", "-o", options, "overlay", _in_root(target)]


class Lab:
    """Hosts that a test makes, crashes and leaves.

    A host ends with the thread in which it was booted: enter the lab in the main thread.

    Args:
        scratch: Empty folder for the files of the hosts, which stay after the end.
        project: The checkout of which the client gets a copy, with what is not yet committed.
        venv: The virtual environment in which the project is installed, editable. Default:
            ``.venv`` of the project.
        hosts: Their names; addresses are given in this order. The one named ``client`` has the
            checkout, and the key with which ssh opens all hosts.
        shared: Names of the hosts that see one common folder at ``SHARED``.

    Attributes:
        shared: That common folder, as seen from here.

    Raises:
        LabError: No lab can be made here; raised on entering.
    """

    def __init__(
        self,
        *,
        scratch: Path,
        project: Path,
        venv: Path | None = None,
        hosts: Sequence[str] = (CLIENT, "head", "worker1", "worker2"),
        shared: Sequence[str] = (),
    ) -> None:
        self.shared = scratch.resolve() / "shared"
        self._scratch = scratch.resolve()
        self._project = project.resolve()
        self._venv = (venv or project / ".venv").resolve()
        self._names = tuple(hosts)
        self._sharing = set(shared)
        self._hosts: dict[str, Host] = {}
        self._ends = ExitStack()

    @staticmethod
    def why_not() -> str | None:
        """Say in a line why no lab can be made here; None when one can."""
        missing = [name for name in PROGRAMS if not shutil.which(name, path=SYSTEM_PATH)]
        if missing:
            return f"a lab of hosts takes Linux and its programs: {', '.join(missing)} not found"
        # With one user alone in a user namespace, sshd cannot give up root for its own account.
        if os.geteuid() != 0 or Path("/proc/self/setgroups").read_text().strip() != "allow":
            return "a lab of hosts takes real root, not that of a user namespace"
        try:
            find()
            _probe()
        except (ToolsError, LabError) as error:
            return f"a lab of hosts cannot be made: {error}"
        return None

    def __enter__(self) -> Self:
        """Boot all hosts."""
        if reason := self.why_not() or self._why_not_here():
            raise LabError(reason)
        with ExitStack() as ends:
            self._make(ends)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """End all hosts; their files stay."""
        self._ends.close()

    def __getitem__(self, name: str) -> Host:
        """Return a host by its name."""
        return self._hosts[name]

    def _why_not_here(self) -> str | None:
        for path in (self._scratch, self._venv):
            if set(str(path)) & set(":,\\"):
                return f"{path}: a path with a colon, comma or backslash cannot be an overlay's"
        if self._scratch.exists() and any(self._scratch.iterdir()):
            return f"{self._scratch}: is not empty"
        if not (self._venv / "pyvenv.cfg").exists():
            return f"{self._venv}: no virtual environment"
        return None

    def _make(self, ends: ExitStack) -> None:
        self._scratch.mkdir(parents=True, exist_ok=True)
        self.shared.mkdir()
        switch = Namespaces(SWITCH, kinds=("--net",), folder=self._scratch)
        ends.callback(switch.end)
        for name in ("host", "client"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._scratch / name))
        tools = find()
        for number, name in enumerate(self._names):
            host = Host(
                name, number, folder=self._scratch / "hosts" / name, venv=self._venv, tools=tools,
                switch=switch, shared=self.shared if name in self._sharing else None,
            )  # fmt: skip
            self._hosts[name] = host
            self._install(host, tools)
            ends.callback(host.end)
            host.boot()

    def _install(self, host: Host, tools: Tools) -> None:
        self._write_home(host)
        self._write_etc(host.layer(Path("/etc")), tools)
        if tools.unpacked:
            _write_rsync(host.layer(Path("/usr")) / "local/bin/rsync", tools.on_a_host())
        relocate(self._venv, host.layer(host.venv), host.project)
        if host.name == CLIENT:
            copy_working_tree(self._project, host.home / CHECKOUT.relative_to("/root"))

    def _write_home(self, host: Host) -> None:
        # What `ray up` runs is `bash --login -i`, which reads .profile alone.
        _write(host.home / ".profile", ". ~/.bashrc\n")
        _write(host.home / ".bashrc", "")
        public = (self._scratch / "client.pub").read_text()
        _write(host.home / ".ssh/authorized_keys", public)
        if host.name == CLIENT:
            secret = (self._scratch / "client").read_text()
            _write(host.home / ".ssh/id_ed25519", secret, mode=0o600)
            _write(host.home / ".ssh/config", SSH_CONFIG)

    def _write_etc(self, etc: Path, tools: Tools) -> None:
        hosts = [f"{_address(number)} {name}" for number, name in enumerate(self._names)]
        _write(etc / "hosts", "\n".join(["127.0.0.1 localhost", *hosts, ""]))
        _write(etc / "passwd", ACCOUNTS + Path("/etc/passwd").read_text())  # the first one counts
        _write(etc / "shadow", PASSWORDS, mode=0o600)
        _write(etc / "ssh/sshd_config", SSHD_CONFIG + _parts_of_sshd(tools))
        secret = (self._scratch / "host").read_text()
        _write(etc / "ssh/ssh_host_ed25519_key", secret, mode=0o600)


def copy_working_tree(project: Path, target: Path) -> None:
    """Copy what git tracks, and what it does not ignore, as it is now; times are kept."""
    git = ("git", "-c", "safe.directory=*", "-C", str(project))
    names = _run(*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, names.split("\0")):
        if (project / name).is_file():  # else it was removed, or is a link to a folder
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project / name, target / name, follow_symlinks=False)


def relocate(venv: Path, layer: Path, project: Path) -> None:
    """Write what differs in a virtual environment when it lies at another place.

    Args:
        venv: The original, which stays as it is.
        layer: Where changed files are put, to be laid over the original.
        project: Where the project will be, with the environment in its ``.venv``.
    """
    [site_packages] = venv.glob("lib/python3*/site-packages")
    [origin] = site_packages.glob("fmnist_search-*.dist-info/direct_url.json")
    checkout = unquote(urlsplit(json.loads(origin.read_text())["url"]).path)
    for path in [*(venv / "bin").iterdir(), *site_packages.glob("__editable__*.*")]:
        if path.is_symlink() or not path.is_file() or _is_program(path):
            continue
        text = path.read_text()
        moved = text.replace(str(venv), str(project / ".venv")).replace(checkout, str(project))
        if moved != text:
            _write(layer / path.relative_to(venv), moved, mode=path.stat().st_mode)
    # Newer than whatever the tests do to the lock, so that `make setup` has nothing to install.
    _write(layer / ".installed", "")
    tomorrow = time.time() + DAY_SECONDS
    os.utime(layer / ".installed", (tomorrow, tomorrow))


def _is_program(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _base_prefixes(venv: Path) -> list[Path]:
    # As the environment names it, and where that leads: a version manager may link the one to the
    # other. What lies under /usr a host has anyway.
    settings = (line.partition("=") for line in (venv / "pyvenv.cfg").read_text().splitlines())
    [home] = [value.strip() for name, _, value in settings if name.strip() == "home"]
    prefix = Path(home).parent
    prefixes = sorted({prefix, prefix.resolve()})
    return [path for path in prefixes if path != Path("/") and not path.is_relative_to("/usr")]


def _parts_of_sshd(tools: Tools) -> str:
    # From OpenSSH 9.8 on sshd is several programs, and where the others are is compiled in.
    if not tools.unpacked:
        return ""
    folder = Path("usr/lib/openssh")
    return "".join(
        f"{option} {MOUNTED_AT / folder / program}\n"
        for option, program in SSHD_PARTS.items()
        if (tools.unpacked / folder / program).exists()
    )


def _write_rsync(target: Path, tools: Tools) -> None:
    libraries = f"export LD_LIBRARY_PATH={tools.library_path}\n" if tools.libraries else ""
    _write(target, f'#!/bin/sh\n{libraries}exec {tools.rsync} "$@"\n', mode=0o755)


def _bind(source: Path, target: Path, *, read_only: bool = False) -> Iterator[list[str]]:
    yield ["mkdir", "-p", _in_root(target)]
    yield ["mount", "-o", "bind,ro" if read_only else "bind", str(source), _in_root(target)]


def _in_root(target: Path) -> str:
    return str(target.relative_to("/"))


def _address(number: int) -> str:
    return f"{NETWORK}.{FIRST_ADDRESS + number}"


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _written(file: Any) -> str:
    # Not by seek(): who still writes to it has the same position.
    descriptor = file.fileno()
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


def _probe() -> None:
    isolated = ("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
    with tempfile.TemporaryDirectory() as folder:
        _run(*isolated, "sh", "-c", PROBE, folder=folder)


def _run(*command: str, text: str | None = None, folder: str | None = None) -> str:
    done = subprocess.run(
        command, input=text, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        raise LabError(f"`{shlex.join(command[:2])} ...` failed ({_reason(done.stderr)})")
    return done.stdout


def _reason(text: str) -> str:
    # The first line: `mount` adds advice, and `unshare` that its child has ended.
    return " ".join(text.strip().splitlines()[:1])
