//! Recognizes commands of package managers.

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Installs something, or downloads dependencies.
    Install,
    /// Installs packages of the system.
    SystemInstall,
    /// Updates the list of the system's packages, which is only useful before an installation.
    Refresh,
    /// Adds a dependency to files of the repository.
    ChangesRepository,
    /// Runs a script in another file, or one that is passed as text.
    Shell,
    /// Downloads a file.
    Download,
    /// Installs packages that its input names.
    FromInput,
    /// Anything else.
    Other,
}

/// Programs that start the program in their arguments.
const STARTERS: [&str; 12] =
    ["sudo", "env", "command", "time", "nice", "ionice", "timeout", "nohup", "stdbuf", "npx", "bunx", "xargs"];

/// Options with a separate value that can come before a subcommand.
const VALUED: [&str; 17] = [
    "-C",
    "--cwd",
    "--dir",
    "--directory",
    "--filter",
    "--prefix",
    "--project",
    "--registry",
    "--cache",
    "-w",
    "--workspace",
    "-o",
    "-c",
    "-t",
    "-f",
    "--manifest-path",
    "--proxy",
];

/// Returns what a command with these words does.
pub(super) fn effect(words: &[&str]) -> Effect {
    let Some(Started { program, arguments, has_input }) = started(words) else { return Effect::Other };
    let asks_only = |argument: &&str| matches!(*argument, "--help" | "-h" | "--version" | "-V" | "--dry-run" | "--simulate");
    if arguments.iter().any(asks_only) {
        return Effect::Other;
    }
    let mut words = subcommands(arguments);
    if has_input {
        words.push("input");
    }
    let call = Call { words, arguments };
    let effect = system(program, &call)
        .or_else(|| python(program, &call))
        .or_else(|| node(program, &call))
        .or_else(|| others(program, &call))
        .unwrap_or(match program {
            "sh" | "bash" | "zsh" | "dash" => Effect::Shell,
            "curl" | "wget" => Effect::Download,
            _ => Effect::Other,
        });
    match effect {
        Effect::Install | Effect::SystemInstall if has_input => Effect::FromInput,
        effect => effect,
    }
}

/// Whether a command only filters its input for display.
pub(super) fn is_filter(words: &[&str]) -> bool {
    const FILTERS: [&str; 11] = ["awk", "cat", "cut", "egrep", "grep", "head", "sed", "sort", "tail", "tr", "wc"];
    started(words).is_some_and(|started| FILTERS.contains(&started.program))
}

/// The program that a command starts in the end.
struct Started<'a, 'b> {
    /// The name of the program.
    program: &'a str,
    arguments: &'b [&'a str],
    /// Whether `xargs` adds arguments.
    has_input: bool,
}

fn started<'a, 'b>(words: &'b [&'a str]) -> Option<Started<'a, 'b>> {
    let (mut is_started, mut has_input) = (false, false);
    let mut words = words;
    loop {
        let (first, rest) = words.split_first()?;
        words = rest;
        let is_argument = is_started && (first.starts_with('-') || first.starts_with(|c: char| c.is_ascii_digit()));
        if is_argument || assignment(first).is_some() {
            continue;
        }
        let name = first.rsplit('/').next().unwrap_or_default();
        match rest {
            ["-m", "pip" | "playwright", ..] if is_python(name) => words = rest.get(1..)?,
            _ if STARTERS.contains(&name) => {
                is_started = true;
                has_input |= name == "xargs";
            }
            _ => return Some(Started { program: name, arguments: rest, has_input }),
        }
    }
}

fn is_version(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_python(program: &str) -> bool {
    program.strip_prefix("python").is_some_and(is_version)
}

/// Returns the name and the value of an assignment to a variable.
pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts && name.chars().all(is_name)).then_some((name, value))
}

/// Returns the arguments that are neither options nor the values of options before the first subcommand.
fn subcommands<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec![];
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument.starts_with('-') || argument.starts_with('+') {
            if words.is_empty() && VALUED.contains(argument) {
                rest.next();
            }
        } else {
            words.push(*argument);
        }
    }
    words
}

/// The arguments of a program.
struct Call<'a> {
    /// The arguments without options.
    words: Vec<&'a str>,
    /// All arguments.
    arguments: &'a [&'a str],
}

impl Call<'_> {
    fn is(&self, start: &[&str]) -> bool {
        self.words.starts_with(start)
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        self.words.first().is_some_and(|word| names.contains(word))
    }

    fn has(&self, options: &[&str]) -> bool {
        self.arguments.iter().any(|argument| options.contains(argument))
    }

    fn has_packages(&self) -> bool {
        self.words.len() > 1
    }
}

fn system(program: &str, call: &Call<'_>) -> Option<Effect> {
    let (is_refresh, is_install) = match program {
        "apt" | "apt-get" | "aptitude" => {
            (call.is(&["update"]), call.is_one_of(&["install", "build-dep", "reinstall"]) && call.has_packages())
        }
        "apk" => (call.is(&["update"]), call.is(&["add"]) && call.has_packages()),
        "dnf" | "yum" | "microdnf" | "zypper" => (call.is(&["makecache"]), call.is_one_of(&["install", "groupinstall"])),
        "pacman" => {
            let is_sync = call.arguments.iter().any(|argument| argument.starts_with("-S"));
            (is_sync && call.words.is_empty(), is_sync && !call.words.is_empty())
        }
        "dpkg" => (false, call.has(&["-i", "--install"])),
        "brew" => (call.is(&["update"]), call.is(&["install"]) && call.has_packages()),
        _ => return None,
    };
    Some(match (is_refresh, is_install) {
        (_, true) => Effect::SystemInstall,
        (true, false) => Effect::Refresh,
        (false, false) => Effect::Other,
    })
}

fn python(program: &str, call: &Call<'_>) -> Option<Effect> {
    if program.strip_prefix("pip").is_some_and(is_version) {
        return call.is(&["install"]).then_some(Effect::Install);
    }
    if is_python(program) {
        return matches!(call.arguments, ["-m", "venv" | "ensurepip" | "virtualenv", ..]).then_some(Effect::Install);
    }
    let is_install = match program {
        "uv" if call.is_one_of(&["add", "remove"]) => return Some(Effect::ChangesRepository),
        "uv" => {
            let starts: [&[&str]; 6] =
                [&["pip", "install"], &["pip", "sync"], &["sync"], &["tool", "install"], &["python", "install"], &["venv"]];
            starts.iter().any(|start| call.is(start))
        }
        "poetry" | "pdm" if call.is(&["add"]) => return Some(Effect::ChangesRepository),
        "pipenv" if call.is(&["install"]) && call.has_packages() => return Some(Effect::ChangesRepository),
        "poetry" | "pdm" | "pipenv" => call.is_one_of(&["install", "sync"]),
        "pipx" => call.is_one_of(&["install", "inject"]) && call.has_packages(),
        "virtualenv" => true,
        "conda" | "mamba" | "micromamba" => call.is_one_of(&["install", "create"]) || call.is(&["env", "create"]),
        _ => return None,
    };
    is_install.then_some(Effect::Install)
}

fn node(program: &str, call: &Call<'_>) -> Option<Effect> {
    let is_global = call.has(&["-g", "--global"]) || call.is(&["global", "add"]);
    let is_install = match program {
        "npm" | "pnpm" | "bun" | "yarn" => {
            let is_add = call.is_one_of(&["add", "install", "i"]) && call.has_packages();
            if is_add && !is_global && !call.has(&["--no-save"]) {
                return Some(Effect::ChangesRepository);
            }
            // Yarn without a subcommand installs.
            let is_plain = program == "yarn" && call.words.is_empty() && !call.has(&["-v"]);
            let is_install = call.is_one_of(&["install", "i", "ci", "clean-install", "fetch"]);
            is_plain || is_install || is_global && (is_add || call.words.len() > 2)
        }
        "corepack" => call.is_one_of(&["enable", "prepare", "install"]),
        "playwright" => call.is_one_of(&["install", "install-deps"]),
        "puppeteer" => call.is(&["browsers", "install"]),
        "cypress" | "nvm" | "fnm" | "volta" => call.is(&["install"]),
        _ => return None,
    };
    is_install.then_some(Effect::Install)
}

fn others(program: &str, call: &Call<'_>) -> Option<Effect> {
    let is_install = match program {
        "cargo" | "bundle" | "bundler" if call.is(&["add"]) => return Some(Effect::ChangesRepository),
        "cargo" => call.is(&["fetch"]) || call.is_one_of(&["install", "binstall"]),
        "rustup" => {
            let is_add = matches!(
                call.words.as_slice(),
                ["toolchain" | "component" | "target", "add" | "install", _, ..] | ["install" | "default", _, ..]
            );
            is_add || call.is(&["toolchain", "install"])
        }
        "go" if call.is(&["get"]) => return Some(Effect::ChangesRepository),
        "go" => call.is(&["install"]) && call.has_packages() || call.is(&["mod", "download"]),
        "gem" => call.is(&["install"]) && call.has_packages(),
        "composer" if call.is(&["require"]) => return Some(Effect::ChangesRepository),
        "composer" => call.is(&["install"]) || call.is(&["global", "require"]),
        "mvn" | "mvnw" => call.words.iter().any(|word| word.starts_with("dependency:")),
        "gradle" | "gradlew" => {
            let is_listed = call.words.iter().any(|word| *word == "dependencies" || word.ends_with(":dependencies"));
            is_listed || call.has(&["--refresh-dependencies"])
        }
        "dotnet" if call.words.first() == Some(&"add") => return Some(Effect::ChangesRepository),
        "dotnet" => {
            call.is(&["restore"])
                || matches!(call.words.as_slice(), ["tool", "install" | "restore", ..] | ["workload", "install", _, ..])
        }
        "mix" => call.is_one_of(&["deps.get", "local.hex", "local.rebar"]),
        "bundle" | "bundler" | "opam" | "luarocks" | "sdk" | "asdf" | "mise" | "pyenv" | "rbenv" => call.is(&["install"]),
        _ => return None,
    };
    is_install.then_some(Effect::Install)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(effect_of_all: Effect, commands: &[&str]) {
        for command in commands {
            let words: Vec<_> = command.split(' ').collect();
            assert_eq!(effect(&words), effect_of_all, "{command}");
        }
    }

    #[test]
    fn installations_are_recognized() {
        check(
            Effect::Install,
            &[
                "pip install x",
                "pip3.12 install -r requirements.txt",
                "python3 -m pip --quiet install x",
                ".venv/bin/pip install -e .",
                "python -m venv .venv",
                "uv pip install x",
                "uv sync",
                "uv tool install ruff",
                "uv venv",
                "pipx install x",
                "poetry -C api install",
                "pipenv sync",
                "npm ci",
                "npm --prefix web ci",
                "npm install",
                "npm i -g x",
                "npm install -g x",
                "npm install --no-save x",
                "pnpm install --frozen-lockfile",
                "pnpm add -g x",
                "yarn",
                "yarn --frozen-lockfile",
                "yarn global add x",
                "bun install",
                "corepack enable",
                "npx -y playwright install --with-deps chromium",
                "python -m playwright install",
                "cargo install ripgrep",
                "cargo +nightly fetch",
                "rustup target add x",
                "rustup toolchain install stable",
                "go install x@latest",
                "go mod download",
                "gem install x",
                "bundle install",
                "composer install",
                "mvn -q dependency:go-offline",
                "./mvnw dependency:resolve",
                "./gradlew :app:dependencies",
                "dotnet restore",
                "dotnet tool install -g x",
                "mix deps.get",
                "nvm install 22",
                "CI=1 npm ci",
                "env A=b npm ci",
                "sudo -E timeout 300 npm ci",
                "time npm ci",
            ],
        );
        check(
            Effect::SystemInstall,
            &[
                "apt-get install -y jq",
                "sudo apt install jq",
                "DEBIAN_FRONTEND=noninteractive apt-get -y install jq",
                "apk add jq",
                "dnf install -y jq",
                "dpkg -i x.deb",
                "apt-get -o A=b install jq",
                "pacman -S jq",
            ],
        );
        check(Effect::Refresh, &["apt-get update", "apt -qq update", "apk update"]);
    }

    #[test]
    fn other_commands_are_not_installations() {
        check(
            Effect::ChangesRepository,
            &[
                "npm install lodash",
                "npm add x",
                "pnpm add x",
                "yarn add x",
                "bun add x",
                "uv add x",
                "poetry add x",
                "cargo add x",
                "go get x",
                "bundle add x",
                "composer require x",
                "dotnet add package x",
            ],
        );
        check(
            Effect::Other,
            &[
                "",
                "A=b",
                "sudo",
                "echo npm ci",
                "npm test",
                "npm run install",
                "yarn test",
                "yarn -v",
                "pip list",
                "pipeline install",
                "npm ci --help",
                "pip install --dry-run x",
                "apt-get install",
                "apt list",
                "cargo build",
                "go build",
                "python x.py",
                "python -m pytest",
                "npx tsc",
                "gradle build",
                "xargs rm",
                "rustup show",
            ],
        );
        check(Effect::Shell, &["bash x.sh", "sudo sh"]);
        check(Effect::Download, &["curl -fsSL x", "wget x"]);
        check(Effect::FromInput, &["xargs apt-get install -y"]);
    }
}
