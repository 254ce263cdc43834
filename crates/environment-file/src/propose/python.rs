//! Reads the files of Python projects: the lock files of uv, Poetry and Pipenv, requirements files, and `pyproject.toml`.
//!
//! All packages are installed in `.venv`, which every tool finds there.

use serde_json::Value;

use super::files::Files;
use super::sketch::Sketch;

/// Requirements files, which are installed together.
const REQUIREMENTS: &[&str] = &[
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements-tests.txt",
    "requirements_dev.txt",
    "requirements_test.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
];

/// Extras and dependency groups that a project's tests usually need.
const EXTRAS: &[&str] = &["dev", "develop", "development", "test", "tests", "testing"];

const CREATE: &str = "python3 -m venv .venv";

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    let mut sketch = locked(files).or_else(|| requirements(files)).or_else(|| project(files)).or_else(|| setuptools(files))?;
    sketch.keep(".venv");
    Some(sketch)
}

fn locked(files: Files<'_>) -> Option<Sketch> {
    let with = |lock: &str, project: &str, command: &str, cache: &str| {
        let mut sketch = Sketch::new(lock);
        sketch.command(command);
        sketch.add_keys([lock, project]);
        sketch.cache(cache);
        sketch
    };
    if files.has("uv.lock") {
        Some(with("uv.lock", "pyproject.toml", "uv sync --frozen", "~/.cache/uv"))
    } else if files.has("poetry.lock") {
        let command = "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction";
        Some(with("poetry.lock", "pyproject.toml", command, "~/.cache/pypoetry"))
    } else if files.has("Pipfile.lock") {
        let mut sketch = with("Pipfile.lock", "Pipfile", "PIPENV_VENV_IN_PROJECT=1 uvx pipenv sync --dev", "~/.cache/pip");
        sketch.cache("~/.cache/uv");
        Some(sketch)
    } else {
        None
    }
}

fn requirements(files: Files<'_>) -> Option<Sketch> {
    let found: Vec<&str> = REQUIREMENTS.iter().filter(|path| files.has(path)).copied().collect();
    let mut sketch = Sketch::new(found.first()?);
    let arguments: Vec<String> = found.iter().map(|path| format!("-r {path}")).collect();
    sketch.command(CREATE);
    sketch.command(&format!(".venv/bin/pip install {}", arguments.join(" ")));
    sketch.add_keys(found);
    sketch.cache("~/.cache/pip");
    Some(sketch)
}

/// Reads a project without a lock file. A `pyproject.toml` that only configures tools is not a project.
fn project(files: Files<'_>) -> Option<Sketch> {
    let config: Value = toml::from_str(files.text("pyproject.toml")?).ok()?;
    let is_package = config["build-system"].is_object() || config["project"]["name"].is_string();
    let groups = known(&config["dependency-groups"]);
    if !is_package && groups.is_empty() {
        return None;
    }
    let mut sketch = Sketch::new("pyproject.toml");
    sketch.command(CREATE);
    let mut arguments = Vec::new();
    if is_package {
        let extras = known(&config["project"]["optional-dependencies"]);
        let extras = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
        arguments.push(format!("-e '.{extras}'"));
    }
    if !groups.is_empty() {
        // Dependency groups need pip 25.1 or later.
        sketch.command(".venv/bin/pip install --upgrade pip");
        arguments.extend(groups.iter().map(|group| format!("--group {group}")));
    }
    sketch.command(&format!(".venv/bin/pip install {}", arguments.join(" ")));
    sketch.key("pyproject.toml");
    sketch.cache("~/.cache/pip");
    Some(sketch)
}

/// Returns the names of a table that are usual for tests.
fn known(table: &Value) -> Vec<&'static str> {
    EXTRAS.iter().filter(|name| table[**name].is_array()).copied().collect()
}

fn setuptools(files: Files<'_>) -> Option<Sketch> {
    let existing: Vec<&str> = ["setup.py", "setup.cfg"].into_iter().filter(|path| files.has(path)).collect();
    let is_package = files.has("setup.py") || files.text("setup.cfg").is_some_and(|text| text.contains("[metadata]"));
    let mut sketch = Sketch::new(existing.first().filter(|_| is_package)?);
    sketch.command(CREATE);
    sketch.command(".venv/bin/pip install -e .");
    sketch.add_keys(existing);
    sketch.cache("~/.cache/pip");
    Some(sketch)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::setup::KeepPath;

    use super::*;

    fn sketch(files: &[(&str, &str)]) -> Option<Sketch> {
        let texts: BTreeMap<String, String> = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        read(Files::new(&texts))
    }

    fn commands(files: &[(&str, &str)]) -> Vec<String> {
        let found = sketch(files).expect("a Python project");
        assert_eq!(found.keep.iter().map(KeepPath::as_str).collect::<Vec<_>>(), [".venv"]);
        assert!(!found.keys.is_empty() && !found.cache.is_empty());
        found.commands
    }

    #[test]
    fn a_lock_file_decides() {
        let others = [("pyproject.toml", "[project]\nname = \"a\""), ("requirements.txt", "a")];
        let with = |lock: &'static str| commands(&[others[0], others[1], (lock, "")]);
        assert_eq!(with("uv.lock"), ["uv sync --frozen"]);
        assert_eq!(with("poetry.lock"), ["POETRY_VIRTUALENVS_IN_PROJECT=true poetry install --no-interaction"]);
        assert_eq!(with("Pipfile.lock"), ["PIPENV_VENV_IN_PROJECT=1 uvx pipenv sync --dev"]);
    }

    #[test]
    fn requirements_files_are_installed_together() {
        let found = commands(&[("requirements.txt", ""), ("requirements-dev.txt", ""), ("pyproject.toml", "[tool.ruff]")]);
        assert_eq!(found, [CREATE, ".venv/bin/pip install -r requirements.txt -r requirements-dev.txt"]);
    }

    #[test]
    fn a_project_is_installed_with_what_its_tests_need() {
        let check = |text: &str, expect: &[&str]| {
            let expect: Vec<&str> = [CREATE].iter().chain(expect).copied().collect();
            assert_eq!(commands(&[("pyproject.toml", text)]), expect, "{text}");
        };
        check("[project]\nname = \"a\"", &[".venv/bin/pip install -e '.'"]);
        check(
            "[project]\nname = \"a\"\n[project.optional-dependencies]\ntest = [\"pytest\"]\ndev = []\ndocs = []",
            &[".venv/bin/pip install -e '.[dev,test]'"],
        );
        let upgrade = ".venv/bin/pip install --upgrade pip";
        check(
            "[build-system]\n[dependency-groups]\ntest = [\"pytest\"]",
            &[upgrade, ".venv/bin/pip install -e '.' --group test"],
        );
        check("[dependency-groups]\ndev = []", &[upgrade, ".venv/bin/pip install --group dev"]);
    }

    #[test]
    fn an_older_package_is_installed() {
        assert_eq!(commands(&[("setup.py", ""), ("setup.cfg", "")]), [CREATE, ".venv/bin/pip install -e ."]);
        assert_eq!(commands(&[("setup.cfg", "[metadata]\nname = a")]), [CREATE, ".venv/bin/pip install -e ."]);
    }

    #[test]
    fn the_configuration_of_tools_is_no_project() {
        for (path, text) in
            [("pyproject.toml", "[tool.ruff]"), ("pyproject.toml", "["), ("setup.cfg", "[flake8]"), ("Pipfile", "")]
        {
            assert_eq!(sketch(&[(path, text)]), None, "{path} {text}");
        }
    }
}
