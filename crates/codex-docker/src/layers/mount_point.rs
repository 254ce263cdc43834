//! Checks the mount points of layers and placed files. An earlier run of the agent may have replaced them with anything.
//!
//! Nothing of the task runs at the time of the check, so a mount point cannot change before it is used.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::DATA;
use crate::settings::{FileWish, LayerWish, Settings};

/// What is at the path of a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// A folder that is reached without links.
    Folder,
    /// A regular file that is reached without links.
    File,
    /// Nothing.
    Nothing,
    /// Something else, a link, or a path through one of them.
    Obstacle,
}

/// Removes layers whose mount point is not a folder, and placed files whose mount point is not a file, with a warning for each.
pub(crate) fn drop_unusable(settings: &mut Settings) {
    let layers = std::mem::take(&mut settings.layers);
    let mut kept: Vec<LayerWish> = Vec::new();
    for layer in layers {
        match obstacle(settings, &kept, &layer) {
            None => kept.push(layer),
            Some(why) => crate::say(&format!("warning: the layer at `{}` is not mounted: {why}", layer.target)),
        }
    }
    settings.layers = kept;
    let files = std::mem::take(&mut settings.files);
    let (usable, unusable) = files.into_iter().partition(|file| {
        on_host(settings, Path::new(&file.target))
            .is_none_or(|(folder, relative)| matches!(content(&folder, &relative), Content::File | Content::Nothing))
    });
    settings.files = usable;
    for FileWish { target, .. } in unusable {
        crate::say(&format!("warning: the file `{target}` is not placed, because there is a folder or a link in its place"));
    }
}

/// Returns why a layer cannot be mounted.
fn obstacle(settings: &Settings, above: &[LayerWish], layer: &LayerWish) -> Option<String> {
    let target = Path::new(&layer.target);
    // The last match is the innermost one, because the layers are sorted.
    if let Some((below, relative)) = above.iter().rev().find_map(|other| Some((other, target.strip_prefix(&other.target).ok()?)))
    {
        let folders = [Some(below.upper.join(DATA)), below.lower.clone()];
        let is_in_the_way = |content| matches!(content, Content::File | Content::Obstacle);
        let blocked = folders.iter().flatten().any(|folder| is_in_the_way(content(folder, relative)));
        return blocked.then(|| format!("the layer at `{}` has something other than a folder there", below.target));
    }
    let (folder, relative) = on_host(settings, target)?;
    let path = folder.join(&relative);
    match content(&folder, &relative) {
        Content::Folder => None,
        Content::Nothing => Some(format!("the folder `{}` does not exist", path.display())),
        Content::File | Content::Obstacle => {
            Some(format!("`{}` is not a folder, or its path contains a symbolic link", path.display()))
        }
    }
}

/// Returns the mounted folder of the host that contains a path in the container, and the path below it.
fn on_host(settings: &Settings, target: &Path) -> Option<(PathBuf, PathBuf)> {
    let worktree = settings.folder.iter().map(|folder| (settings.inside.as_str(), folder));
    let mounts = settings.mounts.iter().map(|wish| (wish.target.as_str(), &wish.source));
    let around = worktree.chain(mounts).filter(|(inside, _)| target.starts_with(inside));
    let (inside, folder) = around.max_by_key(|(inside, _)| Path::new(inside).components().count())?;
    Some((folder.clone(), target.strip_prefix(inside).ok()?.to_owned()))
}

/// Looks at a path below a folder, without following links below it.
fn content(folder: &Path, relative: &Path) -> Content {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut current: OwnedFd = match openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Content::Nothing,
        Err(_) => return Content::Obstacle,
    };
    let mut found = Content::Folder;
    for part in relative.components() {
        let name: &OsStr = match part {
            Component::Normal(name) if found == Content::Folder => name,
            _ => return Content::Obstacle,
        };
        match openat(current.as_fd(), name, flags, Mode::empty()) {
            Ok(next) => current = next,
            Err(Errno::NOENT) => return Content::Nothing,
            Err(_) => return Content::Obstacle,
        }
        found = match fstat(&current).map(|found| FileType::from_raw_mode(found.st_mode)) {
            Ok(FileType::Directory) => Content::Folder,
            Ok(FileType::RegularFile) => Content::File,
            Ok(_) | Err(_) => return Content::Obstacle,
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::settings::Caller;

    fn settings(folder: &Path, pairs: &[(&str, &str)], layers: &serde_json::Value) -> Settings {
        let layers = layers.to_string();
        let fixed = [("HOME", "/nowhere"), ("CONTAINER_NAME", "run"), ("CODEX_DOCKER_LAYERS", layers.as_str())];
        let environment = fixed.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let caller = Caller { folder: folder.join("app"), uid: 1000, gid: 100 };
        Settings::read(&environment, caller).expect("valid settings")
    }

    fn kept(settings: &mut Settings) -> Vec<&str> {
        drop_unusable(settings);
        settings.layers.iter().map(|layer| layer.target.as_str()).collect()
    }

    #[test]
    fn only_a_folder_of_the_worktree_that_no_link_leads_to_is_a_mount_point() {
        let folder = tempfile::tempdir().expect("a folder");
        let app = folder.path().join("app");
        fs_err::create_dir_all(app.join("good/below")).expect("a new folder");
        fs_err::create_dir_all(folder.path().join("outside/below")).expect("a new folder");
        fs_err::write(app.join("file"), "").expect("writable");
        symlink(folder.path().join("outside"), app.join("link")).expect("writable");
        symlink("/nowhere", app.join("dangling")).expect("writable");
        rustix::fs::mkfifoat(CWD, app.join("fifo"), Mode::RWXU).expect("writable");
        let names = ["good", "good/below", "file", "file/below", "link", "link/below", "dangling", "fifo", "missing"];
        let wishes = names.map(|name| serde_json::json!({ "target": format!("/workspace/app/{name}"), "upper": "/nowhere" }));
        for wish in wishes {
            let is_good = wish["target"].as_str().is_some_and(|target| target.contains("good"));
            let mut settings = settings(folder.path(), &[], &serde_json::json!([wish]));
            assert_eq!(kept(&mut settings).len(), usize::from(is_good), "{wish}");
        }
        let home = serde_json::json!([{ "target": "~/.cache", "upper": "/nowhere" }]);
        assert_eq!(kept(&mut settings(folder.path(), &[], &home)), ["/root/.cache"], "the engine creates it in the container");
    }

    #[test]
    fn the_innermost_mount_decides_which_folder_of_the_host_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::create_dir_all(folder.path().join("app/data/x")).expect("a new folder");
        fs_err::create_dir_all(folder.path().join("other")).expect("a new folder");
        let map = format!("{}=/workspace/app/data", folder.path().join("other").display());
        let layers = serde_json::json!([{ "target": "/workspace/app/data/x", "upper": "/nowhere" }]);
        assert!(kept(&mut settings(folder.path(), &[("CODEX_MOUNT_MAPS", &map)], &layers)).is_empty());
        fs_err::create_dir(folder.path().join("other/x")).expect("a new folder");
        assert_eq!(kept(&mut settings(folder.path(), &[("CODEX_MOUNT_MAPS", &map)], &layers)), ["/workspace/app/data/x"]);
    }

    #[test]
    fn a_layer_in_a_layer_is_mounted_where_neither_has_anything_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let [lower, upper] = ["lower", "upper/data"].map(|name| folder.path().join(name));
        for path in [&folder.path().join("app"), &lower, &upper] {
            fs_err::create_dir_all(path).expect("a new folder");
        }
        let layers = serde_json::json!([
            { "target": "/opt/a", "lower": lower, "upper": folder.path().join("upper") },
            { "target": "/opt/a/b", "upper": "/nowhere" },
        ]);
        assert_eq!(kept(&mut settings(folder.path(), &[], &layers)), ["/opt/a", "/opt/a/b"], "the engine creates the folder");
        fs_err::create_dir(lower.join("b")).expect("a new folder");
        assert_eq!(kept(&mut settings(folder.path(), &[], &layers)).len(), 2);
        symlink("/etc", upper.join("b")).expect("writable");
        assert_eq!(kept(&mut settings(folder.path(), &[], &layers)), ["/opt/a"]);
    }
}
