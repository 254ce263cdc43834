//! Files for notifications: the settings of the page *Notifications* (`notices.json`), the devices with the server's key for them
//! (`devices.json`), and notifications that wait for quiet hours to end (`held-notices.json`).
//!
//! An unreadable file does not stop the server: the file is reported, ignored, and stays unchanged until the next write.

use std::io;
use std::path::Path;

use durable::write_atomically;
use fs_err as fs;
use jiff::Timestamp;
use model::damaged::Damaged;
use model::notice::{Notice, NoticeSettings, PushEndpoint};
use model::secret::Secret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Home, StoreError};

/// A browser that receives notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// The device's ID in the server's URLs.
    pub id: String,
    /// The URL of its push service.
    pub endpoint: PushEndpoint,
    /// The device's public key, in base64url.
    pub p256dh: String,
    /// The device's authentication secret, in base64url.
    pub auth: Secret,
    /// The name that the browser gave itself.
    pub label: String,
    /// The ID of the session that it belongs to.
    pub session: String,
    /// When the device subscribed.
    pub created_at: Timestamp,
}

/// The devices, and the key that identifies the server to all of them. One file contains both, because neither is useful
/// without the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// The key as PKCS#8 in base64url, or `None` before the first device.
    pub key: Option<Secret>,
    /// The devices, oldest first.
    pub devices: Vec<DeviceRecord>,
}

#[derive(Serialize, Deserialize)]
struct VersionedFile<T> {
    schema: u32,
    content: T,
}

/// The content of a file, or a default and why the file could not be read.
pub type Read<T> = (T, Option<Damaged>);

impl Home {
    /// Reads the settings of the page *Notifications*.
    pub fn read_notice_settings(&self) -> Read<NoticeSettings> {
        read(&self.layout.notices())
    }

    /// Writes the settings of the page *Notifications*.
    pub fn write_notice_settings(&self, settings: &NoticeSettings) -> Result<(), StoreError> {
        write(&self.layout.notices(), settings)
    }

    /// Reads the devices.
    pub fn read_devices(&self) -> Read<Devices> {
        read(&self.layout.devices())
    }

    /// Writes the devices.
    pub fn write_devices(&self, devices: &Devices) -> Result<(), StoreError> {
        write(&self.layout.devices(), devices)
    }

    /// Reads the notifications that wait for quiet hours to end.
    pub fn read_held_notices(&self) -> Read<Vec<Notice>> {
        read(&self.layout.held_notices())
    }

    /// Writes the notifications that wait for quiet hours to end.
    pub fn write_held_notices(&self, held: &[Notice]) -> Result<(), StoreError> {
        write(&self.layout.held_notices(), held)
    }
}

fn read<T: DeserializeOwned + Default>(path: &Path) -> Read<T> {
    let reason = match fs::read(path) {
        Ok(text) => match serde_json::from_slice::<VersionedFile<T>>(&text) {
            Ok(kept) => return (kept.content, None),
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (T::default(), None),
        Err(error) => error.to_string(),
    };
    let path = path.display().to_string();
    tracing::error!(path, reason, "could not read a notification file; continuing without it");
    let hint = "restore the file from a backup and restart the server; saving the settings on the page replaces the file";
    (T::default(), Some(Damaged { id: "notices".to_owned(), path, reason, hints: vec![hint.to_owned()] }))
}

fn write<T: Serialize + ?Sized>(path: &Path, content: &T) -> Result<(), StoreError> {
    let failed = |error| StoreError::new("write", path, error);
    let text =
        serde_json::to_vec_pretty(&VersionedFile { schema: model::SCHEMA, content }).map_err(|error| failed(error.into()))?;
    write_atomically(path, &text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_only_its_owner_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        assert_eq!(home.read_devices(), (Devices::default(), None));
        let settings = NoticeSettings { webhook_secret: Some(Secret::new("hush")), ..NoticeSettings::default() };
        home.write_notice_settings(&settings).expect("written");
        assert_eq!(home.read_notice_settings(), (settings, None));
        let held = [Notice::test(None)];
        home.write_held_notices(&held).expect("written");
        assert_eq!(home.read_held_notices(), (held.to_vec(), None));
        home.write_devices(&Devices { key: Some(Secret::new("key")), devices: vec![] }).expect("written");
        for path in [home.layout.notices(), home.layout.held_notices(), home.layout.devices()] {
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
    }

    #[test]
    fn a_damaged_file_is_told_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        for text in ["", "{", "null", r#"{"schema":1,"content":{"tell":["nonsense"]}}"#] {
            fs::write(home.layout.notices(), text).expect("written");
            let (settings, damaged) = home.read_notice_settings();
            assert_eq!(settings, NoticeSettings::default());
            assert!(damaged.is_some_and(|damaged| damaged.path.ends_with("notices.json")), "{text}");
            assert_eq!(fs::read_to_string(home.layout.notices()).expect("there"), text);
        }
        fs::create_dir(home.layout.devices()).expect("made");
        assert!(home.read_devices().1.is_some(), "a folder in place of the file is reported");
    }
}
