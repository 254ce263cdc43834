//! Provides the base image of the tests, a small Debian. It is created here, or downloaded if it cannot be created.
//!
//! The image is similar to Docker's own `debian:bookworm-slim`. It is stored in the build folder, so that the next container engine
//! can load it in seconds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{DockerError, docker, last_words};
use crate::{console, packages, tools};

/// The name of the image in the tests (also in `testkit::docker`). The number is increased whenever the recipe changes.
pub(super) const NAME: &str = "codex-docker-test/base:1";

const SUITE: &str = "bookworm";

/// How packages are installed in the image: as in Docker's own images, without documentation and without syncing the disk.
const RECIPE: &[(&str, &str)] = &[
    (
        "etc/dpkg/dpkg.cfg.d/container",
        "force-unsafe-io\npath-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\npath-exclude /usr/share/man/*\n\
         path-exclude /usr/share/info/*\npath-exclude /usr/share/locale/*\n",
    ),
    ("etc/apt/apt.conf.d/container", "Acquire::Languages \"none\";\nAPT::AutoRemove::SuggestsImportant \"false\";\n"),
];

/// Files that the archive does not contain.
const LEFT_OUT: &[&str] = &["./dev/*", "./proc/*", "./sys/*", "./run/*", "./tmp/*", "./var/cache/apt/*", "./var/lib/apt/lists/*"];

/// Makes sure that the container engine has the image.
pub(crate) fn ensure(root: &Path) -> Result<(), DockerError> {
    if tools::answers(&mut docker(&["image", "inspect", NAME])) {
        return Ok(());
    }
    let archive = tools::tools_folder(root).join("container-base-1.tar");
    if !archive.is_file() {
        if !(packages::is_root() && packages::on_path("apt-get")) {
            return console::timed("fetch the base image", fetch);
        }
        if !packages::on_path("debootstrap") {
            packages::install(&["debootstrap"])?;
        }
        console::timed("create the base image", || make(&archive))?;
    }
    let change = ["import", "--change", "CMD [\"bash\"]", "--change", "LABEL codex-docker.test=base"];
    Ok(console::run(docker(&change).arg(&archive).arg(NAME).stdout(Stdio::null()))?)
}

fn fetch() -> Result<(), DockerError> {
    let published = format!("debian:{SUITE}-slim");
    console::run(&mut docker(&["pull", "--quiet", &published]))?;
    Ok(console::run(&mut docker(&["tag", &published, NAME]))?)
}

/// Creates the archive in a temporary folder and then moves it, so that it is never incomplete.
fn make(archive: &Path) -> Result<(), DockerError> {
    let tools = archive.parent().unwrap_or(archive);
    let folder = |source| DockerError::Folder { path: tools.to_owned(), source };
    std::fs::create_dir_all(tools).map_err(folder)?;
    let tree = tempfile::Builder::new().prefix(".container-base-").tempdir_in(tools).map_err(folder)?;
    for (path, text) in RECIPE {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(tree.path())).map_err(folder)?;
        std::fs::write(path, text).map_err(folder)?;
    }
    debootstrap(tree.path(), &tools.join("debootstrap.log"))?;
    let half = tree.path().join("archive.tar");
    console::run(&mut pack(tree.path(), &half))?;
    std::fs::rename(&half, archive).map_err(folder)
}

fn debootstrap(tree: &Path, log: &Path) -> Result<(), DockerError> {
    let folder = |source| DockerError::Folder { path: log.to_owned(), source };
    let output = File::create(log).map_err(folder)?;
    let status = Command::new("debootstrap")
        .args(["--variant=minbase", SUITE])
        .arg(tree)
        .stdin(Stdio::null())
        .stderr(output.try_clone().map_err(folder)?)
        .stdout(output)
        .status()
        .map_err(|source| DockerError::Start { program: "debootstrap", source })?;
    if status.success() { Ok(()) } else { Err(DockerError::Debootstrap { status, said: last_words(log) }) }
}

fn pack(tree: &Path, archive: &PathBuf) -> Command {
    let mut command = Command::new("tar");
    command.args(["--create", "--numeric-owner", "--one-file-system", "--exclude=./archive.tar"]);
    command.args(LEFT_OUT.iter().map(|path| format!("--exclude={path}")));
    command.arg("--file").arg(archive).arg("--directory").arg(tree).arg(".");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_know_the_base_by_the_same_name() {
        let kit = include_str!("../../../crates/testkit/src/docker.rs");
        assert!(kit.contains(&format!("\"{NAME}\"")), "testkit does not use the name {NAME}");
    }

    #[test]
    fn the_archive_holds_what_an_image_needs_and_no_more() {
        let tree = tempfile::tempdir().expect("the folder can be created");
        for file in ["etc/hostname", "var/cache/apt/pkgcache.bin", "dev/null", "var/lib/apt/lists/x", "usr/bin/sh"] {
            let path = tree.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be created");
            std::fs::write(path, "").expect("the file can be written");
        }
        let archive = tree.path().join("archive.tar");
        console::run(&mut pack(tree.path(), &archive)).expect("tar works");
        let listed = Command::new("tar").arg("--list").arg("--file").arg(&archive).output().expect("tar works").stdout;
        let mut files: Vec<String> = String::from_utf8_lossy(&listed).lines().map(str::to_owned).collect();
        files.retain(|file| !file.ends_with('/'));
        files.sort();
        assert_eq!(files, ["./etc/hostname", "./usr/bin/sh"]);
    }
}
