//! Reads the setup steps of GitHub's coding agent: the commands of the job `copilot-setup-steps`, and the versions that its actions
//! install.
//!
//! A command with `${{ … }}` is not taken over, because only GitHub can evaluate it.

use model::names::VariableName;
use serde_json::Value;

use super::files::Files;
use super::scripts;
use super::sketch::Sketch;
use super::yaml;

const PATHS: &[&str] = &[".github/workflows/copilot-setup-steps.yml", ".github/workflows/copilot-setup-steps.yaml"];

/// Actions that install a tool, with the input that names its version.
const TOOLS: &[(&str, &str, &str)] = &[
    ("actions/setup-node", "node", "node-version"),
    ("actions/setup-python", "python", "python-version"),
    ("actions/setup-go", "go", "go-version"),
    ("actions/setup-java", "java", "java-version"),
    ("dtolnay/rust-toolchain", "rust", "toolchain"),
    ("actions-rust-lang/setup-rust-toolchain", "rust", "toolchain"),
];

/// Actions for which there is nothing to do here: the repository is there, and the images contain these tools.
const INCLUDED: &[&str] = &[
    "actions/checkout",
    "actions/cache",
    "pnpm/action-setup",
    "astral-sh/setup-uv",
    "swatinem/rust-cache",
    "github/codeql-action",
];

pub(super) fn read(files: Files<'_>) -> Option<Sketch> {
    let path = PATHS.iter().find(|path| files.has(path))?;
    let text = files.text(path)?;
    let mut sketch = Sketch::new(path);
    let Some(workflow) = yaml::mapping(text) else {
        sketch.note(format!("`{path}` was not used, because it is not valid YAML, or uses aliases."));
        return Some(sketch);
    };
    let job = &workflow["jobs"]["copilot-setup-steps"];
    if !job.is_object() {
        sketch.note(format!("`{path}` was not used, because it has no job `copilot-setup-steps`."));
        return Some(sketch);
    }
    for step in job["steps"].as_array().into_iter().flatten() {
        if let Some(action) = step["uses"].as_str() {
            uses(&mut sketch, action, &step["with"]);
        } else if let Some(command) = step["run"].as_str() {
            run(&mut sketch, command, step);
        }
    }
    if job["runs-on"].as_str().is_some_and(|runner| runner.starts_with("windows") || runner.starts_with("macos")) {
        sketch.note(format!("The job in `{path}` does not run on Linux. Check its commands."));
    }
    sketch.note_unused(job, &["env"], "Add its variables to the repository's variables.");
    sketch.note_unused(&workflow, &["env"], "Add its variables to the repository's variables.");
    sketch.note_unused(job, &["services"], "Describe them in `[services]`.");
    sketch.note_unused(job, &["container"], "Name the image as `image`.");
    Some(sketch)
}

fn uses(sketch: &mut Sketch, action: &str, inputs: &Value) {
    let (name, revision) = action.split_once('@').unwrap_or((action, ""));
    let name = name.to_ascii_lowercase();
    if INCLUDED.iter().any(|included| name == *included || name.starts_with(&format!("{included}/"))) {
        return;
    }
    let Some((_, tool, input)) = TOOLS.iter().find(|(action, ..)| name == *action) else {
        let advice = "Add commands that do the same to the setup script.";
        sketch.note(format!("The action `{action}` in `{}` was not taken over. {advice}", sketch.source));
        return;
    };
    match inputs[*input].as_str() {
        Some(version) => sketch.tool(tool, version),
        // The revision of this action is the toolchain.
        None if name == "dtolnay/rust-toolchain" && revision != "master" => sketch.tool(tool, revision),
        // Version files are read separately.
        None => {}
    }
}

fn run(sketch: &mut Sketch, command: &str, step: &Value) {
    if command.trim().is_empty() || command.contains('\0') {
        return;
    }
    let title = step["name"].as_str().unwrap_or_else(|| command.lines().next().unwrap_or_default());
    let folder = step["working-directory"].as_str().filter(|folder| *folder != ".");
    if let Some(reason) = obstacle(command, folder, step) {
        sketch.note(format!("The step `{title}` in `{}` was not taken over, because {reason}.", sketch.source));
        return;
    }
    if step["if"].is_string() {
        sketch.note(format!("The step `{title}` in `{}` has a condition. Here, it always runs.", sketch.source));
    }
    let mut lines: Vec<String> =
        folder.and_then(|folder| shlex::try_quote(folder).ok()).map(|it| format!("cd {it}")).into_iter().collect();
    for (name, value) in step["env"].as_object().into_iter().flatten() {
        match exported(name, value) {
            Some(line) => lines.push(line),
            None => sketch.note(format!(
                "The variable `{name}` of the step `{title}` in `{}` was not taken over. Add it to the repository's variables or secrets.",
                sketch.source
            )),
        }
    }
    lines.push(command.to_owned());
    let command = scripts::isolated(&lines.join("\n"));
    sketch.add_keys(scripts::files(&command));
    let is_optional = step["continue-on-error"].as_str() == Some("true");
    sketch.command(&if is_optional { format!("{command} || true") } else { command });
}

/// Returns why a command cannot run here.
fn obstacle(command: &str, folder: Option<&str>, step: &Value) -> Option<&'static str> {
    let is_shell = step["shell"].as_str().is_none_or(|shell| shell.starts_with("bash") || shell.starts_with("sh"));
    let has_expression = [Some(command), folder].into_iter().flatten().any(|text| text.contains("${{"));
    if has_expression {
        Some("only GitHub can evaluate its expressions")
    } else if !is_shell {
        Some("it is not a shell script")
    } else if !scripts::variables(command, &["GITHUB_", "RUNNER_"]).is_empty() {
        Some("it uses variables that only GitHub sets")
    } else {
        None
    }
}

/// Returns the command that sets a variable, unless only GitHub knows the value.
fn exported(name: &str, value: &Value) -> Option<String> {
    let value = value.as_str().filter(|value| !value.contains("${{"))?;
    let name = VariableName::parse(name).ok()?;
    Some(format!("export {}={}", name.as_str(), shlex::try_quote(value).ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::setup::KeepPath;

    use super::*;

    fn sketch(steps: &str) -> Sketch {
        let text = format!("jobs:\n  copilot-setup-steps:\n    runs-on: ubuntu-latest\n    steps:\n{steps}");
        let texts = BTreeMap::from([(PATHS[0].to_owned(), text)]);
        read(Files::new(&texts)).expect("the file exists")
    }

    #[test]
    fn commands_run_in_order_and_actions_are_tools() {
        let found = sketch(
            r"
      - uses: actions/checkout@v5
      - name: Set up Node.js
        uses: actions/setup-node@v6
        with: { node-version: 22, cache: npm }
      - uses: actions/setup-python@v5
        with: { python-version: 3.10 }
      - uses: dtolnay/rust-toolchain@1.85
      - run: npm ci
      - run: |
          cd web
          ./scripts/build.sh
      - run: make deps
        working-directory: my lib
      - run: pip install x
        continue-on-error: true
      - run: ./fetch.sh $VERSION
        env: { VERSION: '2.4 8' }
",
        );
        insta::assert_snapshot!(found.commands.join("\n"), @r"
        npm ci
        (
        cd web
        ./scripts/build.sh
        )
        (
        cd 'my lib'
        make deps
        )
        pip install x || true
        (
        export VERSION='2.4 8'
        ./fetch.sh $VERSION
        )
        ");
        let tools: Vec<String> = found.tools.iter().map(|(name, version)| format!("{name} {version}")).collect();
        assert_eq!(tools, ["node 22", "python 3.10", "rust 1.85"]);
        assert_eq!(found.keys.iter().map(KeepPath::as_str).collect::<Vec<_>>(), ["fetch.sh", "scripts/build.sh"]);
        assert_eq!(found.notes, [""; 0]);
    }

    #[test]
    fn what_only_github_can_do_is_noted() {
        let found = sketch(
            r#"
      - uses: actions/setup-dotnet@v4
      - uses: actions/setup-node@v4
        with: { node-version: "${{ matrix.node }}" }
      - run: echo ${{ github.sha }}
      - run: echo "A=1" >> $GITHUB_ENV
      - name: Windows
        run: Get-Item
        shell: pwsh
      - run: npm ci
        if: runner.os == 'Linux'
        env: { NODE_AUTH_TOKEN: "${{ secrets.NPM_TOKEN }}" }
    services: { db: { image: postgres } }
"#,
        );
        assert_eq!(found.commands, ["npm ci"]);
        insta::assert_snapshot!(found.notes.join("\n"));
    }

    #[test]
    fn another_file_is_noted() {
        let check = |text: &str, expect: &str| {
            let texts = BTreeMap::from([(PATHS[1].to_owned(), text.to_owned())]);
            let found = read(Files::new(&texts)).expect("the file exists");
            assert!(found.notes.iter().any(|note| note.contains(expect)) && !found.is_useful(), "{:?}", found.notes);
        };
        check("jobs: {}", "has no job `copilot-setup-steps`");
        check("jobs: [", "is not valid YAML");
        check("jobs: { copilot-setup-steps: { runs-on: windows-latest } }", "does not run on Linux");
    }
}
