//! Determines which files of a folder would survive a power cut, according to the system calls so far.
//!
//! A file's bytes survive if the file was synced after they were written. A name survives if its folder was synced after the name
//! was created. `syncfs` syncs the bytes and names of all files. The effect of a call that overlaps with a sync is not synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The effect of a system call on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// A file was opened that may be new or was truncated.
    Open {
        path: PathBuf,
        truncates: bool,
    },
    /// Bytes were written to a file. The bytes are known only for some calls.
    Write {
        path: PathBuf,
        bytes: Vec<u8>,
    },
    MakeFolder(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    /// `fsync` or `fdatasync` of a file or a folder.
    Sync(PathBuf),
    /// `sync`, or `syncfs` of any file on the disk.
    SyncAll,
    /// Bytes were sent to a client.
    Send(Vec<u8>),
}

/// The length of an ID.
const ID: usize = 36;

#[derive(Debug, Clone, Default)]
struct Node {
    /// The line of the last write, if the write is not synced.
    written: Option<usize>,
    content: Vec<u8>,
    is_folder: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    node: usize,
    /// The line on which the name was created, if the name is not synced.
    made: Option<usize>,
}

/// A folder and everything below it that was created in the trace.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    entries: BTreeMap<PathBuf, Entry>,
}

impl Disk {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), nodes: vec![], entries: BTreeMap::new() }
    }

    /// Applies the effect of a call that started on line `begun` and ended on line `ended`.
    pub(super) fn apply(&mut self, effect: &Effect, begun: usize, ended: usize) {
        match effect {
            Effect::Open { path, truncates } => {
                if !self.entries.contains_key(path) {
                    self.make(path, Node::default(), ended);
                } else if *truncates {
                    self.write(path, ended, Vec::clear);
                }
            }
            Effect::Write { path, bytes } => self.write(path, ended, |content| content.extend(bytes)),
            Effect::MakeFolder(path) => self.make(path, Node { is_folder: true, ..Node::default() }, ended),
            Effect::Rename { from, to } => self.rename(from, to, ended),
            Effect::Link { from, to } => {
                if let Some(entry) = self.entries.get(from) {
                    self.insert(to, Entry { node: entry.node, made: Some(ended) });
                }
            }
            Effect::Remove(path) => self.entries.retain(|known, _| !known.starts_with(path)),
            Effect::Sync(path) => self.sync(path, begun),
            Effect::SyncAll => {
                self.entries.values_mut().for_each(|entry| entry.made = entry.made.filter(|made| *made >= begun));
                self.nodes.iter_mut().for_each(|node| node.written = node.written.filter(|written| *written >= begun));
            }
            Effect::Send(_) => {}
        }
    }

    fn make(&mut self, path: &Path, node: Node, line: usize) {
        self.nodes.push(node);
        let entry = Entry { node: self.nodes.len() - 1, made: Some(line) };
        self.insert(path, entry);
    }

    fn insert(&mut self, path: &Path, entry: Entry) {
        if path.starts_with(&self.root) && path != self.root {
            self.entries.insert(path.to_owned(), entry);
        }
    }

    fn write(&mut self, path: &Path, line: usize, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(entry) = self.entries.get(path) {
            let node = &mut self.nodes[entry.node];
            node.written = Some(line);
            change(&mut node.content);
        }
    }

    fn rename(&mut self, from: &Path, to: &Path, line: usize) {
        let moved: Vec<_> = self.below(from).map(|(path, entry)| (path.to_owned(), *entry)).collect();
        self.entries.retain(|known, _| !known.starts_with(from) && !known.starts_with(to));
        for (path, entry) in moved {
            let rest = path.strip_prefix(from).unwrap_or(Path::new(""));
            if rest.as_os_str().is_empty() {
                self.insert(to, Entry { made: Some(line), ..entry });
            } else {
                self.insert(&to.join(rest), entry);
            }
        }
    }

    fn sync(&mut self, path: &Path, begun: usize) {
        if let Some(entry) = self.entries.get(path) {
            let node = &mut self.nodes[entry.node];
            node.written = node.written.filter(|written| *written >= begun);
        }
        for (_, entry) in self.entries.iter_mut().filter(|(known, _)| known.parent() == Some(path)) {
            entry.made = entry.made.filter(|made| *made >= begun);
        }
    }

    fn below<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = (&'a Path, &'a Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry)).filter(move |(path, _)| path.starts_with(folder))
    }

    /// Returns the files at or below a path.
    pub(super) fn files<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.below(folder).filter(|(_, entry)| !self.nodes[entry.node].is_folder).map(|(path, _)| path)
    }

    pub(super) fn is_folder(&self, path: &Path) -> bool {
        self.entries.get(path).is_some_and(|entry| self.nodes[entry.node].is_folder)
    }

    /// Returns the bytes that were written to a file, as far as the trace shows them.
    pub(super) fn content(&self, path: &Path) -> &[u8] {
        self.entries.get(path).map_or(&[], |entry| &self.nodes[entry.node].content)
    }

    /// Returns the line of the last unsynced write to a file.
    pub(super) fn unsynced_data(&self, path: &Path) -> Option<usize> {
        self.nodes[self.entries.get(path)?.node].written
    }

    /// Returns the line on which an unsynced name was created.
    pub(super) fn unsynced_name(&self, path: &Path) -> Option<usize> {
        self.entries.get(path)?.made
    }

    /// Returns all missing syncs without which a file may not survive a power cut: of its bytes, its name, and the names of its parent
    /// folders.
    pub(super) fn missing(&self, path: &Path) -> Vec<String> {
        let mut missing = vec![];
        if let Some(line) = self.unsynced_data(path) {
            missing.push(format!("no fsync of {} after the write on line {line}", self.name(path)));
        }
        for name in path.ancestors().take_while(|above| *above != self.root) {
            if let (Some(line), Some(folder)) = (self.unsynced_name(name), name.parent()) {
                let made = self.name(name);
                missing.push(format!("no fsync of the folder {} after line {line}, which made {made}", self.name(folder)));
            }
        }
        missing
    }

    /// Formats a path for people: relative to the root, with the last characters of each ID.
    pub(super) fn name(&self, path: &Path) -> String {
        let Ok(inside) = path.strip_prefix(&self.root) else { return format!("`{}`", path.display()) };
        if inside.as_os_str().is_empty() {
            return "of the home".to_owned();
        }
        let parts = inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let parts = parts.map(|part| match part.get(ID - 4..) {
            Some(end) if part.len() == ID && part.bytes().filter(|byte| *byte == b'-').count() == 4 => format!("…{end}"),
            _ => part,
        });
        format!("`{}`", parts.collect::<Vec<_>>().join("/"))
    }
}
