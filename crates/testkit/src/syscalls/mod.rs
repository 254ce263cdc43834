//! Checks the system calls of a server, its keepers and its git: do they sync data to disk in an order that survives a power cut?
//!
//! [`check`] is a pure function of the text of a trace. It knows the layout of a home and the references between its files. The
//! rules are in `rules.rs`. Worktrees are not checked, because they are restored from their branches.

mod disk;
mod parse;
mod rules;
#[cfg(test)]
mod tests;
mod traced;

pub use traced::TracedServer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use self::disk::Effect;
use self::parse::Call;
use self::rules::Rules;

/// The system calls to trace, for `strace --trace`. Calls with a `?` do not exist on every machine.
pub const TRACED: &str = "?open,openat,?creat,?rename,?renameat,renameat2,?link,linkat,?symlink,symlinkat,?mkdir,mkdirat,?unlink,unlinkat,\
    ?rmdir,fsync,fdatasync,syncfs,sync,write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,copy_file_range,sendfile,sendto,sendmsg,\
    chdir,fchdir,clone,clone3,?fork,?vfork";

/// Returns every place where a power cut could lose something that a record refers to. `home` is the home of the traced server, which
/// was empty at the start. `cwd` is the working directory in which the program started.
pub fn check(trace: &str, home: &Path, cwd: &Path) -> Vec<String> {
    let calls = parse::calls(trace);
    // The conditions of a call must hold when the call starts. Its effects count from its end.
    let mut moments: Vec<(usize, bool, &Call)> =
        calls.iter().flat_map(|call| [(call.begun, false, call), (call.ended, true, call)]).collect();
    moments.sort_by_key(|(line, is_end, _)| (*line, *is_end));
    let mut folders = Folders::new(&calls, cwd);
    let mut rules = Rules::new(home);
    for (_, is_end, call) in moments {
        let Some(effect) = effect(call, &mut folders, is_end, home) else { continue };
        if is_end {
            rules.ends(call.pid, &effect, call.begun, call.ended);
        } else {
            rules.begins(call.pid, &effect, call.begun);
        }
    }
    rules.finish()
}

/// The working directory of each process.
struct Folders {
    parents: HashMap<u32, u32>,
    known: HashMap<u32, PathBuf>,
    first: PathBuf,
}

impl Folders {
    fn new(calls: &[Call], first: &Path) -> Self {
        // A child may run before its parent's call ends, so all parents are found in advance.
        let parents = calls.iter().filter(|call| matches!(call.name.as_str(), "clone" | "clone3" | "fork" | "vfork"));
        let parents = parents.filter_map(|call| Some((call.result.split_whitespace().next()?.parse().ok()?, call.pid))).collect();
        Self { parents, known: HashMap::new(), first: first.to_owned() }
    }

    /// Returns the working directory of a process. A child starts in the working directory of its parent.
    fn of(&mut self, pid: u32) -> PathBuf {
        if let Some(known) = self.known.get(&pid) {
            return known.clone();
        }
        let above = self.parents.get(&pid).copied().filter(|parent| *parent != pid);
        let folder = match above {
            Some(parent) => self.of(parent),
            None => self.first.clone(),
        };
        self.known.insert(pid, folder.clone());
        folder
    }
}

fn effect(call: &Call, folders: &mut Folders, is_end: bool, home: &Path) -> Option<Effect> {
    let here = folders.of(call.pid);
    let path = |argument| call.text(argument).map(|text| here.join(text));
    // The path of `openat` and similar calls is relative to a folder whose path strace prints.
    let path_at = |folder: usize| Some(Path::new(call.path_of(folder).unwrap_or_default()).join(call.text(folder + 1)?));
    let descriptor = |argument| call.path_of(argument).map(PathBuf::from);
    match call.name.as_str() {
        "open" | "openat" | "creat" => {
            let flags = if call.name == "openat" { call.arguments.get(2) } else { call.arguments.get(1) };
            let has = |flag: &str| call.name == "creat" || flags.is_some_and(|flags| flags.contains(flag));
            (has("O_CREAT") || has("O_TRUNC")).then_some(())?;
            Some(Effect::Open { path: PathBuf::from(call.opened()?), truncates: has("O_TRUNC") })
        }
        "rename" => Some(Effect::Rename { from: path(0)?, to: path(1)? }),
        "renameat" | "renameat2" => Some(Effect::Rename { from: path_at(0)?, to: path_at(2)? }),
        "link" => Some(Effect::Link { from: path(0)?, to: path(1)? }),
        "linkat" => Some(Effect::Link { from: path_at(0)?, to: path_at(2)? }),
        "symlink" => Some(Effect::Open { path: path(1)?, truncates: false }),
        "symlinkat" => Some(Effect::Open { path: path_at(1)?, truncates: false }),
        "mkdir" => Some(Effect::MakeFolder(path(0)?)),
        "mkdirat" => Some(Effect::MakeFolder(path_at(0)?)),
        "unlink" | "rmdir" => Some(Effect::Remove(path(0)?)),
        "unlinkat" => Some(Effect::Remove(path_at(0)?)),
        "fsync" | "fdatasync" => Some(Effect::Sync(descriptor(0)?)),
        "syncfs" => descriptor(0).filter(|path| path.starts_with(home)).map(|_| Effect::SyncAll),
        "sync" => Some(Effect::SyncAll),
        "write" | "writev" | "sendto" | "sendmsg" => match descriptor(0) {
            Some(path) => Some(Effect::Write { path, bytes: call.bytes(1) }),
            None => Some(Effect::Send(call.bytes(1))),
        },
        "pwrite64" | "pwritev" | "pwritev2" | "ftruncate" | "fallocate" | "sendfile" => {
            Some(Effect::Write { path: descriptor(0)?, bytes: vec![] })
        }
        "copy_file_range" => Some(Effect::Write { path: descriptor(2)?, bytes: vec![] }),
        "chdir" | "fchdir" if is_end => {
            let folder = path(0).or_else(|| descriptor(0))?;
            folders.known.insert(call.pid, folder);
            None
        }
        _ => None,
    }
}
