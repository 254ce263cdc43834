//! The system calls that a container may make: debuggers and tools work, and calls that no agent needs are denied. The calls
//! are made by number, as hostile code would.

use std::process::Command;

use super::hand::Hand;

/// Makes system calls, and prints the names of those that did not fail with EPERM or ENOSYS.
const CALLS: &str = r#"
import ctypes, platform, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
ARM = platform.machine() == "aarch64"
def call(name, x86, arm, *arguments):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(arm if ARM else x86), *[ctypes.c_long(value) for value in arguments])
    if ctypes.get_errno() not in (1, 38):
        print("ALLOWED", name, ctypes.get_errno())
ATTACH, SEIZE, TRUNCATED = 16, 0x4206, (1 << 32) + 1
for name, x86, arm, *arguments in [
    ("io_uring_setup", 425, 425, 8, 0), ("io_uring_enter", 426, 426, 0, 0, 0, 0, 0, 0), ("io_uring_register", 427, 427, 0, 0, 0, 0),
    ("attach", 101, 117, ATTACH, 1, 0, 0), ("seize", 101, 117, SEIZE, 1, 0, 0),
    ("attach, truncated", 101, 117, ATTACH, TRUNCATED, 0, 0), ("seize, truncated", 101, 117, SEIZE, TRUNCATED, 0, 0),
    ("process_vm_readv", 310, 270, 1, 0, 0, 0, 0, 0), ("process_vm_writev", 311, 271, 1, 0, 0, 0, 0, 0),
    ("process_vm_writev, truncated", 311, 271, TRUNCATED, 0, 0, 0, 0, 0),
    ("kcmp", 312, 272, 1, 1, 0, 0, 0), ("pidfd_getfd", 438, 438, 0, 0, 0), ("userfaultfd", 323, 282, 0), ("bpf", 321, 280, 0, 0, 0),
    ("perf_event_open", 298, 241, 0, 0, 0, 0, 0), ("keyctl", 250, 219, 0, 0, 0), ("add_key", 248, 217, 0, 0, 0), ("request_key", 249, 218, 0, 0, 0),
    ("open_by_handle_at", 304, 265, 0, 0, 0), ("mount", 165, 40, 0, 0, 0, 0, 0), ("fsopen", 430, 430, 0, 0), ("unshare", 272, 97, 0x10000000),
    ("setns", 308, 268, 0, 0), ("AF_ALG", 41, 198, 38, 5, 0), ("AF_VSOCK", 41, 198, 40, 1, 0),
]:
    call(name, x86, arm, *arguments)
child = subprocess.Popen(["sleep", "1000"])
libc.ptrace.argtypes = [ctypes.c_long] * 4
print("child", libc.ptrace(ATTACH, child.pid, 0, 0))
child.kill()
"#;

#[test]
fn init_cannot_be_traced_and_calls_that_an_agent_does_not_need_are_refused() {
    let hand = Hand::with_shell();
    fs_err::write(hand.work().join("calls.py"), CALLS).expect("written");
    let before = std::time::Instant::now();
    let said = hand.run(["python3 calls.py; grep Seccomp: /proc/self/status"]);
    assert_eq!(said.well(), "child 0\nSeccomp:\t2\n");
    assert!(before.elapsed() < std::time::Duration::from_secs(15), "nothing delays the end of the run: {:?}", before.elapsed());
}

/// Copies a program of this machine, with the libraries it needs, to a folder of the container. The image's own C library is
/// sufficient, and the image's loader works only with that library.
fn bring(hand: &Hand, program: &str) {
    let tool = hand.work().join("tool");
    fs_err::create_dir(&tool).expect("made");
    let needs = "cp \"$0\" . && ldd \"$0\" | awk '/=> \\// && !/lib(c|m|dl|rt|pthread)\\.so/ { print $3 }' | xargs -I {} cp {} .";
    assert!(Command::new("sh").args(["-c", needs, program]).current_dir(&tool).status().expect("a shell").success());
}

#[test]
fn strace_follows_a_child_and_attaches_to_one_that_runs() {
    let hand = Hand::with_shell();
    bring(&hand, "/usr/bin/strace");
    let script = "export LD_LIBRARY_PATH=$PWD/tool; tool/strace -f -o followed -e trace=execve sh -c '/bin/true; /bin/true'; \
        grep -c 'execve(\"/bin/true\"' followed; sleep 1000 & child=$!; tool/strace -o attached -p $child 2> said & tracer=$!; \
        until grep -q attached said; do sleep 0.05; done; kill $child; wait $tracer; grep -c SIGTERM attached; kill -0 $child || echo gone";
    assert_eq!(hand.run([script]).stdout, "2\n2\ngone\n");
}

#[test]
fn gdb_runs_a_program_and_attaches_to_a_child_that_runs() {
    let hand = Hand::with_shell();
    bring(&hand, "/usr/bin/gdb");
    let script = "gdb() { LD_LIBRARY_PATH=$PWD/tool tool/gdb -nx -batch \"$@\" 2>&1; }; \
        gdb -ex run --args sh -c 'exit 7' | grep -o 'exited with code 07'; \
        sleep 1000 & child=$!; gdb -p $child -ex 'print $pc != 0' -ex kill | grep -E '^.1 = 1|killed' | sed 's/.*killed.*/killed/'; \
        wait $child 2> waited; kill -0 $child 2> waited || echo gone";
    assert_eq!(hand.run([script]).stdout, "exited with code 07\n$1 = 1\nkilled\ngone\n");
}

#[test]
fn the_tools_of_an_agent_work() {
    let script = "set -e; git init -q repo; cd repo; git -c user.name=a -c user.email=b commit -q --allow-empty -m x; \
        python3 -c 'import threading, multiprocessing; p = multiprocessing.Process(target=print, args=(\"process\",)); p.start(); p.join()'; \
        dpkg-query -W -f '${Status}\\n' dash; apt-get --version > /dev/null; codex_node=$(command -v node || true); \
        [ -z \"$codex_node\" ] || node -e 'require(\"fs\").readFileSync(\"/etc/passwd\")'; tar -C / -cf /tmp/x.tar etc/passwd; mkdir /tmp/x; tar -C /tmp/x -xf /tmp/x.tar; \
        chown 1000:1000 /tmp/x/etc/passwd; su -s /bin/sh nobody -c 'id -un'";
    assert_eq!(Hand::with_shell().run([script]).well(), "process\ninstall ok installed\nnobody\n");
}

#[test]
fn the_engines_own_profile_is_used_when_asked_for() {
    let profile = |hand: &Hand| {
        let mut running = hand.start("echo begun; while [ ! -e go ]; do sleep 0.05; done");
        running.line();
        let name = hand.containers().remove(0);
        let told = testkit::docker::docker(&["inspect", "--format", "{{.HostConfig.SecurityOpt}}", &name]);
        fs_err::write(hand.work().join("go"), "").expect("written");
        running.end().well();
        told
    };
    assert!(profile(&Hand::with_shell()).contains("seccomp="));
    assert_eq!(profile(&Hand::with_shell().with("CODEX_DOCKER_SECCOMP", "engine")).trim(), "[no-new-privileges]");
    let refused = Hand::with_shell().with("CODEX_DOCKER_SECCOMP", "unconfined").run(["true"]);
    assert!(refused.code == Some(125) && refused.stderr.contains("invalid CODEX_DOCKER_SECCOMP"), "{refused:?}");
}
