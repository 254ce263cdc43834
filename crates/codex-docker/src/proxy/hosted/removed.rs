//! Reports what was removed from requests: each kind once, up to a limit.
//! The agent chooses the names, so they are shortened and reduced to plain characters.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The maximum number of kinds that are reported.
const TOLD: usize = 30;

/// The maximum length of a name in a report.
const NAME: usize = 40;

/// Something that was removed from a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::proxy) enum Removed {
    /// A tool that does not run in the container.
    Tool(String),
    /// A URL or a reference to something stored elsewhere, in a field with this name.
    Reference(String),
    /// A field of a request, a tool or an item.
    Field(String),
    /// An item of the conversation.
    Item(String),
    /// A part of a message.
    Part(String),
    /// An entry of `include`.
    Include(String),
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(name) => write!(f, "the hosted tool `{}`", shown(name)),
            Self::Reference(name) => write!(f, "a remote reference in `{}`", shown(name)),
            Self::Field(name) => write!(f, "the field `{}`", shown(name)),
            Self::Item(name) => write!(f, "an item of type `{}`", shown(name)),
            Self::Part(name) => write!(f, "content of type `{}`", shown(name)),
            Self::Include(name) => write!(f, "`{}` from `include`", shown(name)),
        }
    }
}

fn shown(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '?' };
    name.chars().take(NAME).map(plain).collect()
}

/// Reports each kind of removal once.
pub(in crate::proxy) struct Notes {
    told: Mutex<HashSet<Removed>>,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

/// Formats the notes without the callback.
impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").field("told", &self.told).finish_non_exhaustive()
    }
}

impl Notes {
    /// Creates notes that call `tell` for each report.
    pub(in crate::proxy) fn new(tell: Box<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { told: Mutex::default(), tell }
    }

    /// Reports the kinds that have not been reported yet.
    pub(in crate::proxy) fn note(&self, removed: Vec<Removed>) {
        for removed in removed {
            let is_new = {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                told.len() < TOLD && told.insert(removed.clone())
            };
            if is_new {
                (self.tell)(&removed.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_kind_is_told_of_once_in_plain_characters_and_not_without_end() {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let here = Arc::clone(&told);
        let notes = Notes::new(Box::new(move |line| here.lock().expect("sound").push(line.to_owned())));
        for _ in 0..2 {
            notes.note(vec![Removed::Tool("web_search".to_owned()), Removed::Tool(format!("\u{1b}[2J\n{}", "x".repeat(99)))]);
        }
        let expected = ["the hosted tool `web_search`".to_owned(), format!("the hosted tool `??2J?{}`", "x".repeat(35))];
        assert_eq!(*told.lock().expect("sound"), expected);
        notes.note((0..1000).map(|n| Removed::Field(n.to_string())).collect());
        assert_eq!(told.lock().expect("sound").len(), TOLD);
    }
}
