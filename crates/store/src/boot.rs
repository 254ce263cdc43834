//! `boot.json`: whether the machine was stopped cleanly. It distinguishes a power cut from a restart of the server.
//!
//! A server writes it when it starts and when it has ended cleanly. If the next server finds a different boot and no clean end,
//! unsynced files in worktrees may be damaged. Everything that a record refers to was synced.

use std::io;

use durable::write_atomically;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Home, StoreError};

/// The current boot of the machine, and what is known about earlier boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The ID of the current boot.
    pub boot_id: String,
    /// Whether it is certain that no server has started in this boot before. If so, no process of an earlier server is alive.
    pub is_first_start: bool,
    /// The last unclean stop of the machine, if one is known.
    pub unclean_stop: Option<UncleanStop>,
}

/// An unclean stop of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UncleanStop {
    /// The ID of the boot after the stop, which identifies the stop.
    pub boot_id: String,
    /// When a server noticed the stop.
    pub noticed_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BootFile {
    schema: u32,
    /// The boot in which a server last wrote this file.
    boot_id: String,
    /// Whether that server ended cleanly, with everything on the disk.
    is_clean: bool,
    /// The last unclean stop, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unclean_stop: Option<UncleanStop>,
}

impl Home {
    /// Reads what earlier servers recorded, and writes nothing. Until [`Home::begin_boot`] is called, another server that starts
    /// would get the same result.
    pub fn read_boot(&self, boot_id: &str, now: Timestamp) -> Result<Boot, StoreError> {
        let path = self.layout.boot();
        let failed = |error| StoreError::new("read", &path, error);
        let boot = |is_first_start, unclean_stop| Boot { boot_id: boot_id.to_owned(), is_first_start, unclean_stop };
        let text = match fs_err::read(&path) {
            // The home is new, or it is from a version that did not write this file and whose runs may still be active.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(boot(false, None)),
            text => text.map_err(failed)?,
        };
        let unclean = || Some(UncleanStop { boot_id: boot_id.to_owned(), noticed_at: now });
        Ok(match serde_json::from_slice::<BootFile>(&text) {
            Ok(last) if last.boot_id == boot_id => boot(false, last.unclean_stop),
            Ok(last) if last.is_clean => boot(true, last.unclean_stop),
            Ok(_) | Err(_) => boot(true, unclean()),
        })
    }

    /// Records that a server has started in this boot.
    pub fn begin_boot(&self, boot: &Boot) -> Result<(), StoreError> {
        self.write_boot(&BootFile::started(boot))
    }

    /// Syncs the whole home and records that the server has ended cleanly.
    pub fn end_boot(&self, boot: &Boot) -> Result<(), StoreError> {
        let folder = self.layout.home();
        durable::sync_file_system(folder).map_err(|error| StoreError::new("sync", folder, error))?;
        self.write_boot(&BootFile::ended(boot))
    }

    fn write_boot(&self, file: &BootFile) -> Result<(), StoreError> {
        let path = self.layout.boot();
        let failed = |error| StoreError::new("write", &path, error);
        let text = serde_json::to_vec_pretty(file).map_err(|error| failed(error.into()))?;
        write_atomically(&path, &text).map_err(failed)
    }
}

impl BootFile {
    /// Returns the record of a server that has started.
    fn started(boot: &Boot) -> Self {
        let Boot { boot_id, unclean_stop, .. } = boot.clone();
        Self { schema: model::SCHEMA, boot_id, is_clean: false, unclean_stop }
    }

    /// Returns the record of a server that has ended cleanly.
    fn ended(boot: &Boot) -> Self {
        Self { is_clean: true, ..Self::started(boot) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// Simulates a starting server. Returns its boot, whether it is the first server in this boot, and the last unclean stop.
    fn start(home: &Home, boot: &str, second: i64) -> (Boot, bool, Option<UncleanStop>) {
        let boot = home.read_boot(boot, time(second)).expect("readable");
        home.begin_boot(&boot).expect("written");
        (boot.clone(), boot.is_first_start, boot.unclean_stop)
    }

    #[test]
    fn only_another_boot_without_an_end_in_order_is_an_unclean_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let (a, is_first, stop) = start(&home, "a", 1);
        assert_eq!((is_first, stop), (false, None), "the home is new");
        let (_, is_first, stop) = start(&home, "a", 2);
        assert_eq!((is_first, stop), (false, None), "only the server was killed");
        home.end_boot(&a).expect("written");
        let (_, is_first, stop) = start(&home, "b", 3);
        assert_eq!((is_first, stop), (true, None), "the server ended cleanly");
        let unclean = Some(UncleanStop { boot_id: "c".to_owned(), noticed_at: time(4) });
        let (c, is_first, stop) = start(&home, "c", 4);
        assert_eq!((is_first, &stop), (true, &unclean));
        let (_, is_first, stop) = start(&home, "c", 5);
        assert_eq!((is_first, &stop), (false, &unclean), "a restarted server knows the unclean stop");
        home.end_boot(&c).expect("written");
        let (_, is_first, stop) = start(&home, "d", 6);
        assert_eq!((is_first, stop), (true, unclean), "a clean stop does not erase the last unclean stop");
    }

    #[test]
    fn a_server_that_dies_before_it_wrote_anything_down_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        start(&home, "a", 1);
        let first = home.read_boot("b", time(2)).expect("readable");
        assert!(first.is_first_start && first.unclean_stop.is_some());
        let second = home.read_boot("b", time(2)).expect("readable");
        assert_eq!(first, second);
    }

    #[test]
    fn an_empty_file_says_nothing_and_counts_as_an_unclean_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        for text in ["", "\0\0\0\0", "{"] {
            fs_err::write(home.layout.boot(), text).expect("written");
            assert!(home.read_boot("a", time(1)).expect("readable").unclean_stop.is_some(), "{text:?}");
        }
    }
}
