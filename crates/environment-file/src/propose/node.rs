//! Reads the files of JavaScript projects: `package.json` and the lock file of npm, pnpm, Yarn or Bun.
//!
//! The lock file also shows which packages of a workspace have their own `node_modules`. Only its lines are read, whatever its size.

use std::collections::BTreeSet;

use model::setup::ToolVersion;

use super::files::Files;
use super::jsonc;
use super::sketch::Sketch;

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Npm,
    Pnpm,
    Yarn,
    Bun,
}

/// The lock files, with the package managers that write them.
const LOCKS: &[(&str, Manager)] = &[
    ("package-lock.json", Manager::Npm),
    ("npm-shrinkwrap.json", Manager::Npm),
    ("pnpm-lock.yaml", Manager::Pnpm),
    ("yarn.lock", Manager::Yarn),
    ("bun.lock", Manager::Bun),
    ("bun.lockb", Manager::Bun),
];

/// Other files that change what is installed.
const SETTINGS: &[&str] = &["package.json", ".npmrc", ".yarnrc", ".yarnrc.yml", "pnpm-workspace.yaml"];

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    let package = files.text("package.json").and_then(jsonc::object).unwrap_or_default();
    let chosen = package["packageManager"].as_str().and_then(chosen);
    let lock = lock(files, chosen.as_ref().map(|(manager, _)| *manager));
    let has_dependencies = ["dependencies", "devDependencies"].iter().any(|key| package[*key].is_object());
    let (source, manager) = match (lock, &chosen) {
        (Some(lock), _) => lock,
        (None, _) if !has_dependencies => return None,
        (None, Some((manager, _))) => ("package.json", *manager),
        (None, None) => ("package.json", Manager::Npm),
    };
    let mut sketch = Sketch::new(source);
    let version = chosen.and_then(|(chosen, version)| version.filter(|_| chosen == manager));
    let is_modern = match &version {
        Some(version) => !version.as_str().starts_with("0.") && !version.as_str().starts_with("1."),
        None => files.whole("yarn.lock").is_some_and(|text| text.lines().take(10).any(|line| line.starts_with("__metadata:"))),
    };
    let yarn = if is_modern { Yarn::Modern } else { Yarn::Classic };
    if let Some(program) = program(manager, yarn, version.as_ref()) {
        sketch.command(&format!("npm install --global {program}"));
    }
    sketch.command(install(manager, yarn, lock.is_some().then_some(source)));
    sketch.key(source);
    sketch.add_keys(SETTINGS.iter().copied().filter(|path| files.has(path)));
    sketch.keep("node_modules");
    sketch.add_keep(workspaces(files.whole(source).unwrap_or_default(), manager).iter().map(String::as_str));
    sketch.cache(cache(manager, yarn));
    if manager == Manager::Yarn && is_modern {
        sketch.note("Yarn's Plug'n'Play writes `.pnp.cjs` to the repository. If Git ignores it, set `nodeLinker: node-modules`.");
    }
    if !files.has("pnpm-lock.yaml") && package["workspaces"].is_array() && sketch.keep.len() == 1 {
        sketch.note("If a package of the workspace has its own `node_modules`, add that folder to `[keep]`.");
    }
    Some(sketch)
}

/// The generation of Yarn.
#[derive(Clone, Copy)]
enum Yarn {
    Classic,
    Modern,
}

/// Parses a value of `packageManager`, such as `pnpm@9.1.0+sha512.abc`.
fn chosen(text: &str) -> Option<(Manager, Option<ToolVersion>)> {
    let (name, version) = text.split_once('@').unwrap_or((text, ""));
    let manager = match name {
        "npm" => Manager::Npm,
        "pnpm" => Manager::Pnpm,
        "yarn" => Manager::Yarn,
        "bun" => Manager::Bun,
        _ => return None,
    };
    let version = version.split('+').next().filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    Some((manager, version.and_then(ToolVersion::parse)))
}

/// Returns the lock file: that of the chosen package manager, or else the first one.
fn lock(files: Files<'_>, chosen: Option<Manager>) -> Option<(&'static str, Manager)> {
    let mut existing = LOCKS.iter().filter(|(path, _)| files.has(path));
    match chosen {
        Some(chosen) => existing.find(|(_, manager)| *manager == chosen).copied(),
        None => existing.next().copied(),
    }
}

/// Returns the package that contains the package manager, unless the images contain a suitable version.
fn program(manager: Manager, yarn: Yarn, version: Option<&ToolVersion>) -> Option<String> {
    match (manager, yarn, version) {
        (Manager::Npm, ..) | (Manager::Pnpm | Manager::Yarn, _, None) => None,
        (Manager::Pnpm, _, Some(version)) => Some(format!("pnpm@{version}")),
        (Manager::Yarn, Yarn::Classic, Some(version)) => Some(format!("--force yarn@{version}")),
        // This is the package that Corepack uses. `--force` replaces the older `yarn`.
        (Manager::Yarn, Yarn::Modern, Some(version)) => Some(format!("--force @yarnpkg/cli-dist@{version}")),
        (Manager::Bun, _, Some(version)) => Some(format!("bun@{version}")),
        (Manager::Bun, _, None) => Some("bun".to_owned()),
    }
}

/// Returns the command that installs the packages without changing the lock file, or without creating one.
fn install(manager: Manager, yarn: Yarn, lock: Option<&str>) -> &'static str {
    match (manager, yarn, lock) {
        (Manager::Npm, _, Some(_)) => "npm ci",
        (Manager::Npm, _, None) => "npm install --no-package-lock",
        (Manager::Pnpm, _, Some(_)) => "pnpm install --frozen-lockfile",
        (Manager::Pnpm, _, None) => "pnpm install --no-lockfile",
        (Manager::Yarn, Yarn::Classic, Some(_)) => "yarn install --frozen-lockfile",
        (Manager::Yarn, Yarn::Classic, None) => "yarn install --no-lockfile",
        (Manager::Yarn, Yarn::Modern, Some(_)) => "yarn install --immutable",
        (Manager::Yarn, Yarn::Modern, None) => "yarn install",
        (Manager::Bun, _, Some(_)) => "bun install --frozen-lockfile",
        (Manager::Bun, _, None) => "bun install --no-save",
    }
}

fn cache(manager: Manager, yarn: Yarn) -> &'static str {
    match (manager, yarn) {
        (Manager::Npm, _) => "~/.npm",
        (Manager::Pnpm, _) => "~/.local/share/pnpm",
        (Manager::Yarn, Yarn::Classic) => "~/.cache/yarn",
        (Manager::Yarn, Yarn::Modern) => "~/.yarn/berry",
        (Manager::Bun, _) => "~/.bun/install/cache",
    }
}

/// Returns the folders `node_modules` of the packages of a workspace, from the lines of the lock file.
fn workspaces(lock: &str, manager: Manager) -> BTreeSet<String> {
    match manager {
        Manager::Npm => lock.lines().filter_map(npm_folder).collect(),
        Manager::Pnpm => pnpm_folders(lock),
        Manager::Yarn | Manager::Bun => BTreeSet::new(),
    }
}

/// npm lists each installed package by its folder: `"web/node_modules/x": {`.
fn npm_folder(line: &str) -> Option<String> {
    let (folder, _) = line.trim_start().strip_prefix('"')?.split_once("/node_modules/")?;
    let is_workspace = !folder.contains("node_modules") && !folder.contains('"');
    is_workspace.then(|| format!("{folder}/node_modules"))
}

/// pnpm lists each package of the workspace by its folder, below `importers:`.
fn pnpm_folders(lock: &str) -> BTreeSet<String> {
    let section = lock.lines().skip_while(|line| *line != "importers:").skip(1);
    let section = section.take_while(|line| line.is_empty() || line.starts_with(' '));
    let name = |line: &str| {
        let name = line.strip_prefix("  ").filter(|name| !name.starts_with(' '))?.split(':').next()?;
        let name = name.trim_matches('\'');
        (name != "." && !name.is_empty()).then(|| format!("{name}/node_modules"))
    };
    section.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::setup::{CachePath, KeepPath};

    use super::*;

    fn sketch(files: &[(&str, &str)]) -> Option<Sketch> {
        let texts: BTreeMap<String, String> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        read(Files::new(&texts))
    }

    #[test]
    fn each_lock_file_has_its_command_and_cache() {
        let check = |lock: &str, text: &str, commands: &[&str], cache: &str| {
            let found = sketch(&[("package.json", "{}"), (lock, text)]).expect(lock);
            assert_eq!((found.commands, found.source.as_str()), (commands.iter().map(|&c| c.to_owned()).collect(), lock));
            assert_eq!(found.cache.iter().map(CachePath::as_str).collect::<Vec<_>>(), [cache]);
            let keys: Vec<_> = found.keys.iter().map(KeepPath::as_str).collect();
            assert!(keys.contains(&lock) && keys.contains(&"package.json") && keys.len() == 2, "{keys:?}");
        };
        check("package-lock.json", "{}", &["npm ci"], "~/.npm");
        check("npm-shrinkwrap.json", "{}", &["npm ci"], "~/.npm");
        check("pnpm-lock.yaml", "", &["pnpm install --frozen-lockfile"], "~/.local/share/pnpm");
        check("yarn.lock", "# yarn lockfile v1\n", &["yarn install --frozen-lockfile"], "~/.cache/yarn");
        check("yarn.lock", "# x\n\n__metadata:\n  version: 8\n", &["yarn install --immutable"], "~/.yarn/berry");
        check("bun.lock", "{}", &["npm install --global bun", "bun install --frozen-lockfile"], "~/.bun/install/cache");
    }

    #[test]
    fn the_package_manager_of_the_package_decides() {
        let check = |manager: &str, expect: &[&str]| {
            let package = format!(r#"{{"packageManager": "{manager}", "dependencies": {{}}}}"#);
            let found = sketch(&[("package.json", &package), ("package-lock.json", "{}"), ("yarn.lock", "")]).expect(manager);
            assert_eq!(found.commands, expect, "{manager}");
        };
        check("yarn@4.9.1+sha512.abc", &["npm install --global --force @yarnpkg/cli-dist@4.9.1", "yarn install --immutable"]);
        check("yarn@1.22.22", &["npm install --global --force yarn@1.22.22", "yarn install --frozen-lockfile"]);
        check("pnpm@9.1.0", &["npm install --global pnpm@9.1.0", "pnpm install --no-lockfile"]);
        check("npm@10.9.0", &["npm ci"]);
        check("pnpm@$(id)", &["pnpm install --no-lockfile"]);
        check("other@1", &["npm ci"]);
    }

    #[test]
    fn a_package_without_a_lock_file_is_installed_if_it_has_dependencies() {
        let found = sketch(&[("package.json", r#"{"devDependencies": {"a": "1"}}"#)]).expect("it has dependencies");
        assert_eq!((found.commands, found.source), (vec!["npm install --no-package-lock".to_owned()], "package.json".to_owned()));
        assert_eq!(sketch(&[("package.json", r#"{"scripts": {}}"#)]), None);
        assert_eq!(sketch(&[("package.json", "{")]), None);
        assert_eq!(sketch(&[]), None);
    }

    #[test]
    fn packages_of_a_workspace_keep_their_modules() {
        let check = |lock: &str, text: &str, expect: &[&str]| {
            let found = sketch(&[("package.json", "{}"), (lock, text)]).expect(lock);
            assert_eq!(found.keep.iter().map(KeepPath::as_str).collect::<Vec<_>>(), expect);
        };
        check(
            "pnpm-lock.yaml",
            "lockfileVersion: '9.0'\nimporters:\n\n  .:\n    dependencies:\n      a:\n        version: 1\n\n  packages/a: {}\n\n  'packages/b':\n    x: 1\n\npackages:\n\n  c@1:\n",
            &["node_modules", "packages/a/node_modules", "packages/b/node_modules"],
        );
        check(
            "package-lock.json",
            "{\n  \"packages\": {\n    \"node_modules/x\": {\n    \"node_modules/x/node_modules/y\": {\n    \"web/app/node_modules/z\": {\n",
            &["node_modules", "web/app/node_modules"],
        );
    }
}
