//! `boot.json`: whether the machine was stopped in order. It tells a power cut from a restart of the server.
//!
//! A server writes it when it starts and when it has ended in order. If the next one finds another boot and no such end, files that
//! nobody synced may be torn: those of worktrees. Everything that a record refers to is on the disk in any case.

use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::atomic::write_atomically;
use super::{Home, StoreError};

/// An unclean stop of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UncleanStop {
    /// Its name: the ID of the boot that followed it.
    pub boot_id: String,
    /// When the server started that noticed it.
    pub noticed_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BootFile {
    schema: u32,
    /// The boot in which a server last wrote this.
    boot_id: String,
    /// Whether that server has ended in order, with everything on the disk.
    is_clean: bool,
    /// The last unclean stop, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unclean_stop: Option<UncleanStop>,
}

impl Home {
    /// Writes down that a server runs in this boot. Returns the last unclean stop of the machine, as far as it is known.
    pub fn begin_boot(&self, boot_id: &str, now: Timestamp) -> Result<Option<UncleanStop>, StoreError> {
        let path = self.layout.boot();
        let failed = |error| StoreError::new("read", &path, error);
        let noticed = || Some(UncleanStop { boot_id: boot_id.to_owned(), noticed_at: now });
        let unclean_stop = match fs_err::read(&path) {
            // A new home, or one of a version that did not write this.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            text => match serde_json::from_slice::<BootFile>(&text.map_err(failed)?) {
                Ok(last) if last.boot_id == boot_id || last.is_clean => last.unclean_stop,
                Ok(_) | Err(_) => noticed(),
            },
        };
        let running =
            BootFile { schema: model::SCHEMA, boot_id: boot_id.to_owned(), is_clean: false, unclean_stop: unclean_stop.clone() };
        if let Err(error) = self.write_boot(&running) {
            // A server starts on a full disk too.
            tracing::warn!(%error, "could not write down that a server runs in this boot");
        }
        Ok(unclean_stop)
    }

    /// Puts the whole home on the disk and writes down that the server has ended in order.
    pub fn end_boot(&self, boot_id: &str, unclean_stop: Option<UncleanStop>) -> Result<(), StoreError> {
        let folder = self.layout.home();
        crate::durable::sync_file_system(folder).map_err(|error| StoreError::new("sync", folder, error))?;
        self.write_boot(&BootFile { schema: model::SCHEMA, boot_id: boot_id.to_owned(), is_clean: true, unclean_stop })
    }

    fn write_boot(&self, file: &BootFile) -> Result<(), StoreError> {
        let path = self.layout.boot();
        let failed = |error| StoreError::new("write", &path, error);
        let text = serde_json::to_vec_pretty(file).map_err(|error| failed(error.into()))?;
        write_atomically(&path, &text).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn only_another_boot_without_an_end_in_order_is_an_unclean_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let begin = |boot: &str, second| home.begin_boot(boot, time(second)).expect("written");
        assert_eq!(begin("a", 1), None, "a new home");
        assert_eq!(begin("a", 2), None, "the server was killed, the machine runs on");
        home.end_boot("a", None).expect("written");
        assert_eq!(begin("b", 3), None, "stopped in order");
        let stop = UncleanStop { boot_id: "c".to_owned(), noticed_at: time(4) };
        assert_eq!(begin("c", 4), Some(stop.clone()));
        assert_eq!(begin("c", 5), Some(stop.clone()), "a server that starts again knows of it");
        home.end_boot("c", Some(stop.clone())).expect("written");
        assert_eq!(begin("d", 6), Some(stop), "what was not checked yet is not forgotten");
    }

    #[test]
    fn an_empty_file_says_nothing_and_counts_as_an_unclean_stop() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        for text in ["", "\0\0\0\0", "{"] {
            fs_err::write(home.layout.boot(), text).expect("written");
            assert!(home.begin_boot("a", time(1)).expect("written").is_some(), "{text:?}");
        }
    }
}
