"""What a program said last, found in what real ones write when they end.

Each was written by a small program with that fault (Go 1.26, klog 2.130, Rust 1.95, GCC 12, CPython 3.13, Trio, grpcio,
OpenJDK 17, Node.js 20); only paths are shorter, and dumps, which one test makes as long as real ones.
"""

from __future__ import annotations

import pytest

from devicemgr.testing.conformance.subject.exit_message import NEAR, exit_message

GO_NIL = """\
Starting FS watcher.
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x49e1de]

goroutine 1 [running]:
main.main()
\t/src/nil.go:11 +0x5e
"""
GO_MAPS = """\
fatal error: concurrent map writes

goroutine 18 [running]:
internal/runtime/maps.fatal({0x49255d?, 0x0?})
\t/usr/local/go/src/runtime/panic.go:1181 +0x18
main.main.func1()
\t/src/maps.go:8 +0x5e
created by main.main in goroutine 1
\t/src/maps.go:6 +0x25
"""
GO_TWICE = """\
panic: send on closed channel
\tpanic: cleaning up: no such socket

goroutine 1 [running]:
main.main.func1()
\t/src/repanic.go:6 +0x3b
panic({0x481560?, 0x498910?})
\t/usr/local/go/src/runtime/panic.go:860 +0x13a
"""
GO_IN_C = """\
SIGSEGV: segmentation violation
PC=0x47e520 m=0 sigcode=1 addr=0x0
signal arrived during cgo execution

goroutine 1 gp=0x1a284717a1e0 m=0 mp=0x532240 [syscall]:
runtime.cgocall(0x47e520, 0x1a28471bef38)
\t/usr/local/go/src/runtime/cgocall.go:167 +0x4b fp=0x1a28471bef10 sp=0x1a28471beed8 pc=0x4732cb

rax    0x0
rbx    0x1a28471bef38
r8     0x0
rip    0x47e520
rflags 0x10202
"""
KLOG_FATAL = """\
I1126 12:56:56.053525    5226 main.go:10] Starting FS watcher.
F1126 12:56:56.053623    5226 main.go:16] cannot serve: bind: address already in use
"""
GLOG_FATAL = """\
F1126 12:56:56.053623    5226 main.go:16] cannot serve: bind: address already in use
goroutine 1 [running]:
github.com/golang/glog.Fatalf(...)
\t/go/pkg/mod/github.com/golang/glog@v1.2.4/glog.go:645
"""
GLOG_ABORT = """\
F1126 18:00:04.059290   14168 main.go:3] cannot serve: bind: address already in use

goroutine 1 [running]:
github.com/golang/glog.Fatalf(...)
\t/go/pkg/mod/github.com/golang/glog@v1.2.5/glog.go:707

SIGABRT: abort
PC=0x40984e m=0 sigcode=18446744073709551610

goroutine 1 gp=0x1069968d41e0 m=0 mp=0x626700 [running, locked to thread]:
github.com/golang/glog.abortProcess()
\t/go/pkg/mod/github.com/golang/glog@v1.2.5/glog_file_linux.go:35

rax    0x0
"""
KLOG_ERROR = """\
I1126 12:56:56.212351    5260 main.go:10] Starting FS watcher.
E1126 12:56:56.212458    5260 main.go:12] "Failed to initialize NVML" err="no such file"
I1126 12:56:56.212470    5260 main.go:13] "Releasing"
I1126 12:56:56.212471    5260 main.go:14] "Closing"
I1126 12:56:56.212472    5260 main.go:15] stopping
"""
LOGRUS = """\
time="2023-06-27T22:14:23Z" level=info msg="Starting OS watcher."
time="2023-06-27T22:14:23Z" level=fatal msg="no devices"
"""
ZAP = """\
{"level":"info","ts":1692220542.09,"msg":"listening"}
{"level":"fatal","ts":1692220542.18,"msg":"cannot serve","error":"bind: address already in use"}
"""
PYTHON_CHAIN = """\
Traceback (most recent call last):
  File "/src/c.py", line 2, in f
    try: {}["card"]
         ~~^^^^^^^^
KeyError: 'card'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/src/c.py", line 4, in <module>
    f(1)
    ~^^^
FileNotFoundError: [Errno 2] No such file or directory: '/dev/no-card'
"""
PYTHON_GRPC = """\
Traceback (most recent call last):
  File "/src/gr.py", line 2, in <module>
    channel.unary_unary("/v1beta1.Registration/Register")(b"", timeout=2)
  File "/lib/python3.13/site-packages/grpc/_channel.py", line 999, in _end_unary_response_blocking
    raise _InactiveRpcError(state)  # pytype: disable=not-instantiable
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
grpc._channel._InactiveRpcError: <_InactiveRpcError of RPC that terminated with:
\tstatus = StatusCode.UNAVAILABLE
\tdetails = "failed to connect to all addresses; last error: unix:/no/kubelet.sock: No such file or directory"
\tdebug_error_string = "UNAVAILABLE:failed to connect to all addresses"
>
"""
PYTHON_GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/src/g.py", line 7, in <module>
  |     trio.run(main)
  |     ~~~~~~~~^^^^^^
  |   File "/lib/python3.13/site-packages/trio/_core/_run.py", line 1117, in __aexit__
  |     raise combined_error_from_nursery
  | ExceptionGroup: Exceptions from Trio nursery (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/src/g.py", line 2, in a
    |     async def a(): raise ValueError("no card")
    |                    ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    | ValueError: no card
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "/src/g.py", line 3, in b
    | OSError: [Errno 98] Address already in use
    +------------------------------------
"""
PYTHON_SIGNAL = """\
Fatal Python error: Segmentation fault

Current thread 0x00007efc8eaadb80 (most recent call first):
  File "<string>", line 1 in <module>
"""
RUST = """\

thread 'main' (4450) panicked at r.rs:2:34:
called `Result::unwrap()` on an `Err` value: Os { code: 2, kind: NotFound, message: "No such file or directory" }
stack backtrace:
   0: __rustc::rust_begin_unwind
             at /rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/std/src/panicking.rs:689:5
   1: core::panicking::panic_fmt
             at /rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/panicking.rs:80:14
   2: core::result::unwrap_failed
             at /rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/result.rs:1867:5
   3: r::main
   4: core::ops::function::FnOnce::call_once
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
"""
RUST_BEFORE_1_73 = """\
thread 'tokio-runtime-worker' panicked at 'no device', src/main.rs:10:5
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""
CPP = """\
terminate called after throwing an instance of 'std::runtime_error'
  what():  Invalid argument
Aborted (core dumped)
"""
ASSERTION = "a: a.c:3: main: Assertion `argc==9' failed.\nAborted\n"
HEAP = "free(): double free detected in tcache 2\nAborted\n"
JAVA = """\
Exception in thread "main" java.lang.RuntimeException: cannot start
\tat Main.main(Main.java:2)
Caused by: java.lang.IllegalStateException: no device
\tat Main.open(Main.java:1)
\tat Main.main(Main.java:2)
\tat java.base/jdk.internal.reflect.NativeMethodAccessorImpl.invoke0(Native Method)
\t... 7 more
"""
NODE = """\
node:events:502
      throw er; // Unhandled 'error' event
      ^

Error: listen EACCES: permission denied /no/x.sock
    at Server.setupListenHandle [as _listen2] (node:net:1886:21)
    at listenInCluster (node:net:1965:12)
Emitted 'error' event on Server instance at:
    at emitErrorNT (node:net:1944:8)
    at process.processTicksAndRejections (node:internal/process/task_queues:82:21) {
  code: 'EACCES',
  errno: -13,
  syscall: 'listen',
  address: '/no/x.sock',
  port: -1
}

Node.js v20.20.2
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            GO_NIL,
            [
                "panic: runtime error: invalid memory address or nil pointer dereference",
                "[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x49e1de]",
            ],
        ),
        (GO_MAPS, ["fatal error: concurrent map writes"]),
        (GO_TWICE, ["panic: send on closed channel", "panic: cleaning up: no such socket"]),
        (GO_IN_C, ["SIGSEGV: segmentation violation", "signal arrived during cgo execution"]),
        (KLOG_FATAL, [KLOG_FATAL.splitlines()[1]]),
        (GLOG_FATAL, [GLOG_FATAL.splitlines()[0]]),
        (GLOG_ABORT, [GLOG_ABORT.splitlines()[0]]),
        (GLOG_ABORT.partition("\n\n")[2].partition("\n\n")[2], ["SIGABRT: abort"]),
        (KLOG_ERROR, [KLOG_ERROR.splitlines()[1], KLOG_ERROR.splitlines()[-1]]),
        (LOGRUS, [LOGRUS.splitlines()[1]]),
        (ZAP, [ZAP.splitlines()[1]]),
        (PYTHON_CHAIN, ["FileNotFoundError: [Errno 2] No such file or directory: '/dev/no-card'"]),
        (PYTHON_GRPC, [line.strip() for line in PYTHON_GRPC.splitlines()[6:9]]),
        (
            PYTHON_GROUP,
            [
                "ExceptionGroup: Exceptions from Trio nursery (2 sub-exceptions)",
                "ValueError: no card",
                "OSError: [Errno 98] Address already in use",
            ],
        ),
        (PYTHON_SIGNAL, ["Fatal Python error: Segmentation fault"]),
        (RUST, RUST.splitlines()[1:3]),
        (RUST_BEFORE_1_73, RUST_BEFORE_1_73.splitlines()[:1]),
        (CPP, ["terminate called after throwing an instance of 'std::runtime_error'", "what():  Invalid argument"]),
        (ASSERTION, ["a: a.c:3: main: Assertion `argc==9' failed."]),
        (HEAP, ["free(): double free detected in tcache 2"]),
        (
            JAVA,
            [
                'Exception in thread "main" java.lang.RuntimeException: cannot start',
                "Caused by: java.lang.IllegalStateException: no device",
            ],
        ),
        (NODE, ["Error: listen EACCES: permission denied /no/x.sock"]),
        ("looking\nnone found\n\n", ["looking", "none found"]),
        ("1\n2\n3\n4\n", ["2", "3", "4"]),
        ("\x1b[31mERROR\x1b[0m no card\nbye\n", ["ERROR no card", "bye"]),
        ("", []),
    ],
)
def test_the_message_is_found_without_the_dump(output, words):
    assert exit_message(output) == words
    assert exit_message(output.replace("\n", "\r\n")) == words


@pytest.mark.parametrize("output", [GO_NIL, GO_MAPS, GO_IN_C, GLOG_ABORT])
def test_however_long_the_dump_is(output):
    goroutine = "\ngoroutine 2 [select (no cases)]:\nmain.main.func1()\n\t/src/nil.go:10 +0xf\n"
    assert exit_message(output + goroutine * 5000) == exit_message(output)


@pytest.mark.parametrize("output", [PYTHON_CHAIN, PYTHON_GROUP, RUST, JAVA])
def test_a_message_that_it_survived_is_not_its_exit_message(output):
    said = exit_message(output)
    assert exit_message(output + "stopping\n" * NEAR) == said
    assert exit_message(output + "registered\n" * (NEAR + 1)) == ["registered"] * 3


def test_of_many_exceptions_the_last_is_found_in_no_time():
    assert exit_message(PYTHON_CHAIN * 5000 + "going on\n" * 100) == ["going on"] * 3
