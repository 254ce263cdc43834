//! Files that root created in a container for an ordinary user: afterwards, they all belong to the user, however
//! deeply they are nested. `codex-docker` runs as that user, whose only privilege is access to the engine's socket.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::hand::{Hand, USER};

/// Returns a script that nests folders far beyond the longest path that the system accepts.
pub(crate) fn deep_folders(at: &str, count: usize) -> String {
    format!(
        "python3 -c 'import os\nos.makedirs(\"{at}\"); os.chdir(\"{at}\")\nfor i in range({count}):\n    os.mkdir(\"d\"); os.chdir(\"d\")\nopen(\"file\", \"w\").close()'"
    )
}

/// Returns the owner of the file in the innermost folder.
fn owner_at_the_end(top: &Path, count: usize) -> u32 {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let mut here = openat(CWD, top, flags, Mode::empty()).expect("there");
    let name = CString::from(c"d");
    for _ in 0..count {
        here = openat(&here, &name, flags, Mode::empty()).expect("there");
    }
    rustix::fs::statat(&here, "file", rustix::fs::AtFlags::SYMLINK_NOFOLLOW).expect("there").st_uid
}

#[test]
fn folders_deeper_than_any_path_are_given_back() {
    const DEPTH: usize = 5_000;
    let hand = Hand::with_shell();
    let scripts = [deep_folders("/workspace/work/deep", DEPTH), deep_folders("/codex-docker/out/deep", DEPTH)].join("; ");
    let said = hand.run_as_plain_user([format!("{scripts}; echo x > /workspace/work/plain")]);
    said.well();
    assert!(said.stderr.len() < 1_000, "long paths are shortened in messages: {} bytes", said.stderr.len());
    assert_eq!(fs_err::metadata(hand.work().join("plain")).expect("there").uid(), USER);
    assert_eq!(owner_at_the_end(&hand.work().join("deep"), DEPTH), USER);
    assert!(hand.folders().is_empty(), "the output folder with root's files is deleted: {:?}", hand.folders());
}

#[test]
fn a_folder_that_belongs_to_root_is_given_back_whole_and_no_link_is_followed() {
    let hand = Hand::with_shell();
    let folder = hand.work().join("tree");
    let script = format!(
        "{}; chown -R 1234:1234 deep/d/d/d; cp /bin/true suid; chmod 6755 suid; ln -s /etc/shadow link; ln -s {} out; chmod 000 deep/d",
        deep_folders("deep", 3_000),
        hand.root().display()
    );
    fs_err::create_dir(&folder).expect("made");
    let made = std::process::Command::new("sh").args(["-c", &script]).current_dir(&folder).status().expect("a shell");
    assert!(made.success());
    let root = fs_err::metadata(hand.home()).expect("there").uid();
    let given = hand.run_as_plain_user([std::ffi::OsStr::new("give-back"), folder.as_os_str()]);
    given.well();
    assert_eq!(owner_at_the_end(&folder.join("deep"), 3_000), USER);
    for name in ["suid", "link", "out"] {
        let found = fs_err::symlink_metadata(folder.join(name)).expect("there");
        assert_eq!((found.uid(), found.mode() & 0o6000), (USER, 0), "{name}");
    }
    assert_eq!((fs_err::metadata("/etc/shadow").expect("there").uid(), root), (0, 0));
    let through_a_link = hand.root().join("a-link");
    std::os::unix::fs::symlink("/etc", &through_a_link).expect("linked");
    let refused = hand.run_as_plain_user([std::ffi::OsStr::new("give-back"), through_a_link.as_os_str()]);
    assert_eq!(refused.code, Some(125), "{refused:?}");
}
