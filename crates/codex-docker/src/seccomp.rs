//! The seccomp profile of containers. It replaces the engine's profile, because older engines allow more system calls.
//!
//! `seccomp.json` is the default profile of Moby (github.com/moby/profiles, Apache-2.0) with two changes: `ptrace` and
//! `process_vm_readv`/`_writev` are refused for process 1, the container's init. All other processes can be traced, so debuggers
//! work. Like Moby's profile, it refuses `io_uring`, and sockets of `AF_ALG` and `AF_VSOCK` (except for 32-bit programs on x86,
//! through `socketcall`). The default profiles of Docker 24 and older allow them.

use std::path::Path;

use bollard::models::SystemInfo;

use crate::failure::Failure;
use model::ErrorCode;

/// The profile.
pub(crate) const PROFILE: &str = include_str!("seccomp.json");

/// The name of its file in the folder of a run, for engines that read the profile from a file.
pub(crate) const FILE: &str = "seccomp.json";

/// The variable that chooses a profile.
pub(crate) const VARIABLE: &str = "CODEX_DOCKER_SECCOMP";

/// The source of a container's profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seccomp {
    /// Our profile, sent with the request (Docker).
    Inline,
    /// Our profile, read from the folder of the run (Podman).
    File,
    /// The engine's default, or no profile if the kernel does not support seccomp.
    Engine,
}

/// The kind of a container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineKind {
    Docker,
    Podman,
}

impl Seccomp {
    /// Chooses the source by the user's setting and the engine's abilities.
    pub(crate) fn choose(wish: Option<&str>, info: &SystemInfo, kind: EngineKind) -> Result<Self, Failure> {
        let is_enabled = info.security_options.iter().flatten().any(|option| option.starts_with("name=seccomp"));
        match wish.filter(|wish| !wish.is_empty()) {
            Some("engine") => Ok(Self::Engine),
            None | Some("built-in") if !is_enabled => Ok(Self::Engine),
            None | Some("built-in") => Ok(match kind {
                EngineKind::Podman => Self::File,
                EngineKind::Docker => Self::Inline,
            }),
            Some(other) => {
                Err(Failure::new(ErrorCode::SettingUnusable, format!("invalid {VARIABLE}: `{}`", other.escape_debug()))
                    .hint("use `built-in` or `engine`"))
            }
        }
    }

    /// Returns the security option for a container whose files are in `folder`.
    pub(crate) fn option(self, folder: &Path) -> Option<String> {
        match self {
            Self::Inline => Some(format!("seccomp={PROFILE}")),
            Self::File => Some(format!("seccomp={}", folder.join(FILE).display())),
            Self::Engine => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The largest process ID (the kernel's `PID_MAX_LIMIT`).
    const LARGEST_PROCESS: u64 = (1 << 22) - 1;

    fn rules() -> Vec<Value> {
        let profile: Value = serde_json::from_str(PROFILE).expect("JSON");
        assert_eq!((&profile["defaultAction"], &profile["defaultErrnoRet"]), (&"SCMP_ACT_ERRNO".into(), &1.into()));
        let architectures: Vec<_> =
            profile["archMap"].as_array().expect("a list").iter().map(|map| &map["architecture"]).collect();
        for architecture in ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"] {
            assert!(architectures.iter().any(|known| *known == architecture), "{architecture}");
        }
        profile["syscalls"].as_array().expect("a list").clone()
    }

    fn names(rule: &Value) -> Vec<&str> {
        rule["names"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
    }

    /// Returns the rules for a system call that apply without capabilities.
    fn of<'a>(rules: &'a [Value], call: &str) -> Vec<&'a Value> {
        rules.iter().filter(|rule| names(rule).contains(&call) && rule["includes"]["caps"].is_null()).collect()
    }

    #[test]
    fn what_an_agent_does_not_need_is_refused() {
        let rules = rules();
        for call in [
            "io_uring_setup",
            "io_uring_enter",
            "io_uring_register",
            "bpf",
            "perf_event_open",
            "keyctl",
            "add_key",
            "request_key",
            "userfaultfd",
            "open_by_handle_at",
            "kcmp",
            "pidfd_getfd",
            "mount",
            "move_mount",
            "fsopen",
            "open_tree",
            "unshare",
            "setns",
            "kexec_load",
            "init_module",
            "pivot_root",
            "swapon",
            "syslog",
            "process_madvise",
        ] {
            assert!(of(&rules, call).is_empty(), "{call}");
        }
    }

    #[test]
    fn every_process_but_the_first_can_be_traced_whatever_the_upper_half_of_its_number_says() {
        let rules = rules();
        for (call, index) in [("ptrace", 1), ("process_vm_readv", 0), ("process_vm_writev", 0)] {
            let arguments: Vec<_> = of(&rules, call).into_iter().map(|rule| rule["args"].as_array().expect("a list")).collect();
            let allows = |process: u64| {
                arguments.iter().any(|all| {
                    all.iter().all(|argument| {
                        assert_eq!((&argument["index"], &argument["op"]), (&index.into(), &"SCMP_CMP_MASKED_EQ".into()));
                        let number = |name: &str| argument[name].as_u64().expect("a number");
                        process & number("value") == number("valueTwo")
                    })
                })
            };
            // The kernel uses only the lower half of the argument.
            for upper in [0, 1 << 32, u64::from(u32::MAX) << 32] {
                assert!(!allows(upper | 1), "{call} {upper:x}");
                assert!(allows(upper), "{call}: process 0 is allowed, which PTRACE_TRACEME uses");
                assert!((2..10_000).chain([1 << 21, LARGEST_PROCESS]).all(|process| allows(upper | process)), "{call}");
            }
        }
    }

    #[test]
    fn the_profile_is_ours_unless_the_user_or_the_kernel_says_otherwise() {
        let with = |options: &[&str]| SystemInfo {
            security_options: Some(options.iter().map(|option| (*option).to_owned()).collect()),
            ..SystemInfo::default()
        };
        let usual = with(&["name=seccomp,profile=default"]);
        let choose = |wish: Option<&str>, info: &SystemInfo, kind: EngineKind| {
            Seccomp::choose(wish, info, kind).map_err(|failure| failure.code.known())
        };
        assert_eq!(choose(None, &usual, EngineKind::Docker), Ok(Seccomp::Inline));
        assert_eq!(choose(Some("built-in"), &usual, EngineKind::Podman), Ok(Seccomp::File));
        assert_eq!(choose(Some("engine"), &usual, EngineKind::Docker), Ok(Seccomp::Engine));
        assert_eq!(choose(None, &with(&["name=apparmor"]), EngineKind::Docker), Ok(Seccomp::Engine));
        assert_eq!(choose(None, &with(&["name=seccomp,profile=unconfined"]), EngineKind::Docker), Ok(Seccomp::Inline));
        assert_eq!(choose(Some("unconfined"), &usual, EngineKind::Docker), Err(Some(ErrorCode::SettingUnusable)));
        assert_eq!(Seccomp::Engine.option(Path::new("/s")), None);
        assert_eq!(Seccomp::File.option(Path::new("/s")).as_deref(), Some("seccomp=/s/seccomp.json"));
    }
}
