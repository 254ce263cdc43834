//! Describes a repository's settings: each setting once, next to the field that stores it.
//!
//! The macro in `define` derives the stored record, the request that changes it, and the rows of a table from one list. The crate
//! `protocol` puts the tables together.

mod define;
mod value;

pub(crate) use define::settings;
pub use value::given;
pub(crate) use value::{Requested, Stored, Text, text_by_as_str};

use crate::problem::Problem;

/// A setting of a group that is stored in an `R` and changed by an `E`.
#[derive(Debug)]
pub struct Row<R: 'static, E: 'static> {
    /// What the setting is called and what it does.
    pub description: Description,
    /// Returns the current values: none if the default applies.
    pub current: fn(&R) -> Vec<String>,
    /// Checks values and adds the change to a request. No values request the default. The text is the key, for errors.
    pub change: fn(&mut E, &str, &[String]) -> Result<(), Problem>,
}

/// What a setting of a repository is called, what it does, and which values it accepts.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// The name in `env config` and in forms, e.g. `token_budget`.
    pub key: &'static str,
    /// The flag of `env add` and `env edit`, without the dashes.
    pub flag: &'static str,
    /// The group that the setting is listed in.
    pub group: Group,
    /// The label in forms.
    pub label: &'static str,
    /// The doc comment of the setting.
    pub help: &'static str,
    /// The default, in words or as a value.
    pub default: &'static str,
    /// An example of a list element.
    pub example: &'static str,
    /// The kind of value.
    pub input: Input,
    /// Whether the setting must have a value.
    pub required: Required,
    /// The path of the field in the API, e.g. `container.token_budget`.
    pub field: &'static str,
}

/// A group of settings, in the order of forms and lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The repository itself.
    General,
    /// Variables and secrets of the agent.
    Variables,
    /// The containers of runs.
    Container,
    /// How runs are started and retried.
    Runs,
    /// What the commits of runs contain, and who makes them.
    Commits,
    /// Which submodules are fetched.
    Submodules,
    /// Where pull requests are opened.
    GitHost,
}

/// The kind of value that a setting has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Words, such as a name.
    Words(&'static str),
    /// A single value without spaces. The text is its placeholder in usage lines, e.g. `SIZE`.
    Text(&'static str),
    /// A path on the server's machine.
    Path,
    /// A whole number.
    Number,
    /// `on` or `off`. The default is `off`.
    Switch,
    /// One of a few values.
    Choice(&'static [Choice]),
    /// A list with one element per line. The text is the placeholder of an element.
    Lines(&'static str),
    /// A list whose elements contain no spaces or commas. The text is the placeholder of an element.
    List(&'static str),
    /// A value that is never shown. It has its own flags and form fields.
    Secret,
}

/// A value of [`Input::Choice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The value in the API and on the command line.
    pub value: &'static str,
    /// What the value means, for forms and the reference.
    pub meaning: &'static str,
}

/// Whether a setting must have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// The setting has a default and can be unset.
    No,
    /// The setting cannot be unset.
    Yes,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 7] =
        [Self::General, Self::Variables, Self::Container, Self::Runs, Self::Commits, Self::Submodules, Self::GitHost];

    /// Returns the heading of the group.
    pub fn title(self) -> &'static str {
        match self {
            Self::General => "General",
            Self::Variables => "Variables and secrets",
            Self::Container => "Container",
            Self::Runs => "Runs",
            Self::Commits => "Commits",
            Self::Submodules => "Submodules",
            Self::GitHost => "Git host",
        }
    }

    /// Returns a note on the settings of the group, e.g. when they apply.
    pub fn note(self) -> &'static str {
        match self {
            Self::General => "",
            Self::Variables => "Changes apply from the next run on.",
            Self::Container => "These settings apply from the next run on, and only if the worker runs Codex in containers.",
            Self::Runs => {
                "The model and the effort apply to new tasks. The folder applies from the next run on, and the other settings immediately."
            }
            Self::Commits => "These settings apply to the commit that ends a run. The agent's own commits stay as they are.",
            Self::Submodules => {
                "Submodules are fetched without asking if the default branch names their URL. For other URLs, a task asks first."
            }
            Self::GitHost => {
                "The Git host is usually detected from the repository URL. A token lets the server push and open pull requests."
            }
        }
    }
}

impl Input {
    /// Returns the placeholder of a value in usage lines.
    pub fn value_name(self) -> &'static str {
        match self {
            Self::Words(name) | Self::Text(name) | Self::Lines(name) | Self::List(name) => name,
            Self::Path => "FILE",
            Self::Number => "NUMBER",
            Self::Switch => "ON/OFF",
            Self::Choice(_) | Self::Secret => "VALUE",
        }
    }

    /// Whether the value is a list.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Lines(_) | Self::List(_))
    }

    /// Splits the text of a form field into values. Returns no values if the text is empty.
    pub fn split(self, text: &str) -> Vec<String> {
        let pieces: Vec<&str> = match self {
            Self::Lines(_) => text.lines().collect(),
            Self::List(_) => text.split(|c: char| c.is_whitespace() || c == ',').collect(),
            Self::Words(_) | Self::Text(_) | Self::Path | Self::Number | Self::Switch | Self::Choice(_) | Self::Secret => {
                vec![text.trim()]
            }
        };
        pieces.into_iter().filter(|piece| !piece.trim().is_empty()).map(str::to_owned).collect()
    }
}

impl Description {
    /// Returns the first paragraph of the help: a phrase without a final period.
    pub fn summary(&self) -> String {
        self.paragraphs().next().unwrap_or_default()
    }

    /// Returns the other paragraphs of the help, as one text of complete sentences.
    pub fn details(&self) -> String {
        self.paragraphs().skip(1).collect::<Vec<_>>().join(" ")
    }

    fn paragraphs(&self) -> impl Iterator<Item = String> {
        let lines: Vec<&str> = self.help.lines().map(str::trim).collect();
        let paragraphs: Vec<String> = lines.split(|line| line.is_empty()).map(|lines| lines.join(" ")).collect();
        paragraphs.into_iter().filter(|paragraph| !paragraph.is_empty())
    }

    /// Returns the choices, if the setting has a few fixed values.
    pub fn choices(&self) -> &'static [Choice] {
        match self.input {
            Input::Choice(choices) => choices,
            Input::Words(_)
            | Input::Text(_)
            | Input::Path
            | Input::Number
            | Input::Switch
            | Input::Lines(_)
            | Input::List(_)
            | Input::Secret => &[],
        }
    }
}
