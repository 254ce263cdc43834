//! Splits a shell script into simple commands.
//!
//! Invariant: a script is either split as a shell would split it, or not at all. Nothing is expanded. Loops, conditions, functions, here
//! documents and the output of other commands are not supported.

/// How a command is connected to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// `&&`, or the end of the script.
    And,
    /// `;` or the end of a line.
    Next,
    /// `||`.
    Or,
    /// `|`.
    Pipe,
    /// `&`.
    Background,
}

/// A part of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// The start of a subshell.
    Open,
    /// The end of a subshell.
    Close,
    /// A command.
    Command(SimpleCommand<'a>),
}

/// A command with its words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SimpleCommand<'a> {
    /// The words, without redirections.
    pub(super) words: Vec<Word<'a>>,
    /// Whether input or output is redirected in a way that matters. Redirecting output to a temporary file does not.
    pub(super) is_redirected: bool,
    /// How the next command follows.
    pub(super) link: Link,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word<'a> {
    /// The word as it is written.
    pub(super) raw: &'a str,
    /// The word without quotes.
    pub(super) text: String,
    /// Whether the word contains a variable whose value is not known. [`KNOWN_VARIABLES`] are known.
    pub(super) is_variable: bool,
}

/// Variables that have a suitable value in every shell.
const KNOWN_VARIABLES: [&str; 3] = ["HOME", "PATH", "PWD"];

/// Words that start a compound command.
pub(super) const KEYWORDS: [&str; 19] = [
    "!", "[[", "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "select", "then", "until",
    "while", "{", "}",
];

/// Operators that redirect input or output, long ones first.
const REDIRECTIONS: [&str; 8] = ["&>>", "&>", ">>", ">|", ">&", "<&", ">", "<"];

/// Splits a script. Returns `None` if it contains syntax that is not supported.
pub(super) fn split(script: &str) -> Option<Vec<Piece<'_>>> {
    let mut splitter = Splitter {
        script,
        at: 0,
        depth: 0,
        pieces: vec![],
        command: Partial::default(),
        is_after_close: false,
        expects_command: false,
    };
    splitter.run()?;
    Some(splitter.pieces)
}

/// A command that is not complete yet.
#[derive(Debug, Default)]
struct Partial<'a> {
    words: Vec<Word<'a>>,
    is_redirected: bool,
    /// Whether there is any redirection.
    has_redirection: bool,
}

struct Splitter<'a> {
    script: &'a str,
    at: usize,
    depth: usize,
    pieces: Vec<Piece<'a>>,
    command: Partial<'a>,
    /// Whether a subshell ended and no operator followed yet.
    is_after_close: bool,
    /// Whether the last operator needs another command.
    expects_command: bool,
}

impl<'a> Splitter<'a> {
    fn run(&mut self) -> Option<()> {
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' => self.at += 1,
                '\\' if self.rest().starts_with("\\\n") => self.at += 2,
                // Lines can be empty, or end after an operator.
                '\n' if self.is_empty() && !self.is_after_close => self.at += 1,
                '\n' => self.operator("\n", Link::Next)?,
                '#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                ';' if !self.rest().starts_with(";;") => self.operator(";", Link::Next)?,
                '&' if self.rest().starts_with("&&") => self.operator("&&", Link::And)?,
                '&' if self.rest().starts_with("&>") => self.redirection()?,
                '&' => self.operator("&", Link::Background)?,
                '|' if self.rest().starts_with("||") => self.operator("||", Link::Or)?,
                '|' if self.rest().starts_with("|&") => self.operator("|&", Link::Pipe)?,
                '|' => self.operator("|", Link::Pipe)?,
                '(' => self.open()?,
                ')' => self.close()?,
                '<' | '>' => self.redirection()?,
                ';' => return None,
                _ => self.word()?,
            }
        }
        if !self.is_empty() {
            self.end(Link::And)?;
        }
        (self.depth == 0 && !self.expects_command).then_some(())
    }

    fn rest(&self) -> &'a str {
        self.script.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Whether no command has started.
    fn is_empty(&self) -> bool {
        self.command.words.is_empty() && !self.command.has_redirection
    }

    /// Ends the command.
    fn end(&mut self, link: Link) -> Option<()> {
        let Partial { words, is_redirected, .. } = std::mem::take(&mut self.command);
        let first = words.first()?;
        if KEYWORDS.contains(&first.raw) {
            return None;
        }
        self.pieces.push(Piece::Command(SimpleCommand { words, is_redirected, link }));
        Some(())
    }

    fn operator(&mut self, text: &str, link: Link) -> Option<()> {
        self.at += text.len();
        if self.is_empty() {
            // After a subshell, the operator belongs to its last command. Pipes of subshells are not supported.
            let is_supported = self.is_after_close && matches!(link, Link::And | Link::Next | Link::Or);
            self.last_command().filter(|_| is_supported)?.link = link;
        } else {
            self.end(link)?;
        }
        self.is_after_close = false;
        self.expects_command = matches!(link, Link::And | Link::Or | Link::Pipe);
        Some(())
    }

    fn last_command(&mut self) -> Option<&mut SimpleCommand<'a>> {
        self.pieces.iter_mut().rev().find_map(|piece| match piece {
            Piece::Command(command) => Some(command),
            Piece::Open | Piece::Close => None,
        })
    }

    fn open(&mut self) -> Option<()> {
        let is_piped = matches!(self.pieces.last(), Some(Piece::Command(command)) if command.link == Link::Pipe);
        if !self.is_empty() || self.is_after_close || is_piped {
            return None;
        }
        self.at += 1;
        self.depth += 1;
        self.expects_command = true;
        self.pieces.push(Piece::Open);
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        if !self.is_empty() {
            self.end(Link::And)?;
        }
        if self.expects_command {
            return None;
        }
        self.depth = self.depth.checked_sub(1)?;
        self.at += 1;
        self.is_after_close = true;
        self.pieces.push(Piece::Close);
        Some(())
    }

    fn word(&mut self) -> Option<()> {
        if self.is_after_close {
            return None;
        }
        let word = self.take_word()?;
        // A number right before a redirection is the number of a file.
        let is_number = !word.raw.is_empty() && word.raw.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && matches!(self.peek(), Some('<' | '>')) {
            return self.redirection();
        }
        self.command.words.push(word);
        self.expects_command = false;
        Some(())
    }

    fn redirection(&mut self) -> Option<()> {
        if self.is_after_close {
            return None;
        }
        let rest = self.rest();
        if rest.starts_with("<<") || rest.starts_with("<(") || rest.starts_with(">(") {
            return None;
        }
        let operator = REDIRECTIONS.into_iter().find(|operator| rest.starts_with(operator))?;
        self.at += operator.len();
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        let target = self.take_word()?;
        if target.raw.is_empty() {
            return None;
        }
        let text = target.text.as_str();
        let is_file = operator.ends_with('&') && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_temporary = matches!(text, "/dev/null" | "/dev/stdout" | "/dev/stderr") || is_temporary(text);
        let is_harmless = !operator.starts_with('<') && !target.is_variable && (is_file || is_temporary);
        self.command.has_redirection = true;
        self.command.is_redirected |= !is_harmless;
        Some(())
    }

    /// Takes a word up to the next space or operator. It may be empty.
    fn take_word(&mut self) -> Option<Word<'a>> {
        let start = self.at;
        let mut word = Word { raw: "", text: String::new(), is_variable: false };
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                '\'' => {
                    let (quoted, _) = self.rest().get(1..)?.split_once('\'')?;
                    word.text.push_str(quoted);
                    self.at += quoted.len() + 2;
                }
                '"' => self.double_quoted(&mut word)?,
                '\\' => {
                    let escaped = self.rest().chars().nth(1)?;
                    self.at += 1 + escaped.len_utf8();
                    if escaped != '\n' {
                        word.text.push(escaped);
                    }
                }
                '$' => self.variable(&mut word)?,
                '`' => return None,
                other => {
                    word.text.push(other);
                    self.at += other.len_utf8();
                }
            }
        }
        word.raw = self.script.get(start..self.at)?;
        Some(word)
    }

    fn double_quoted(&mut self, word: &mut Word<'a>) -> Option<()> {
        self.at += 1;
        loop {
            match self.peek()? {
                '"' => {
                    self.at += 1;
                    return Some(());
                }
                '\\' => {
                    let escaped = self.rest().chars().nth(1)?;
                    self.at += 1 + escaped.len_utf8();
                    match escaped {
                        '\n' => {}
                        '$' | '`' | '"' | '\\' => word.text.push(escaped),
                        other => word.text.extend(['\\', other]),
                    }
                }
                // Before a quote, it is an ordinary character.
                '$' if !self.rest().starts_with("$\"") && !self.rest().starts_with("$'") => self.variable(word)?,
                '`' => return None,
                other => {
                    word.text.push(other);
                    self.at += other.len_utf8();
                }
            }
        }
    }

    /// Takes a variable. Its name stays in the text.
    fn variable(&mut self, word: &mut Word<'a>) -> Option<()> {
        let after = self.rest().get(1..)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, length) = match after.chars().next() {
            // The output of another command, or a text with escape sequences.
            Some('(' | '\'' | '"') => return None,
            Some('{') => {
                let (name, _) = after.get(1..)?.split_once('}')?;
                // Names are short. Anything else can contain quotes, and further commands.
                if name.is_empty() || !name.chars().all(is_name) {
                    return None;
                }
                (name, name.len() + 3)
            }
            Some(first) if is_name(first) => {
                let end = if first.is_ascii_digit() { 1 } else { after.find(|c| !is_name(c)).unwrap_or(after.len()) };
                let name = after.get(..end)?;
                (name, name.len() + 1)
            }
            Some('?' | '@' | '*' | '#' | '!' | '-' | '$') => ("?", 2),
            _ => ("", 1),
        };
        word.text.push_str(self.rest().get(..length)?);
        word.is_variable |= !name.is_empty() && !KNOWN_VARIABLES.contains(&name);
        self.at += length;
        Some(())
    }
}

/// Whether a path is in a folder for temporary files.
pub(super) fn is_temporary(path: &str) -> bool {
    ["/tmp/", "/var/tmp/", "/artifacts/"].iter().any(|folder| path.starts_with(folder) && !path.contains("/../"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(script: &str) -> String {
        let Some(pieces) = split(script) else { return "unsupported".to_owned() };
        let piece = |piece: &Piece<'_>| match piece {
            Piece::Open => "(".to_owned(),
            Piece::Close => ")".to_owned(),
            Piece::Command(SimpleCommand { words, is_redirected, link }) => {
                let words: Vec<_> =
                    words.iter().map(|word| format!("{}{}", word.text, if word.is_variable { "?" } else { "" })).collect();
                let link = match link {
                    Link::And => "&&",
                    Link::Next => ";",
                    Link::Or => "||",
                    Link::Pipe => "|",
                    Link::Background => "&",
                };
                format!("[{}]{}{link}", words.join("_"), if *is_redirected { ">" } else { "" })
            }
        };
        pieces.iter().map(piece).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn commands_are_split_at_operators() {
        for (script, expect) in [
            ("a b && c; d\ne", "[a_b]&& [c]; [d]; [e]&&"),
            ("a || b & c | d |& e", "[a]|| [b]& [c]| [d]| [e]&&"),
            ("a &&\n\n b \\\n c # x && y\n\n", "[a]&& [b_c];"),
            ("# only a comment", ""),
            ("(cd x && a) && (b; c)", "( [cd_x]&& [a]&& ) ( [b]; [c]&& )"),
            ("(a)\n(b) # c\nd", "( [a]; ) ( [b]; ) [d]&&"),
            ("(a) || b", "( [a]|| ) [b]&&"),
            ("a#b '#' \"#\"", "[a#b_#_#]&&"),
        ] {
            assert_eq!(shown(script), expect, "{script}");
        }
    }

    #[test]
    fn quotes_are_removed_and_variables_are_noticed() {
        for (script, expect) in [
            (r#"a 'b  c' "d e"f \g"#, "[a_b  c_d ef_g]&&"),
            (r#"a "\$x \" \n" '$y'"#, r#"[a_$x " \n_$y]&&"#),
            ("a $x ${y} \"$z\" $? $1", "[a_$x?_${y}?_$z?_$??_$1?]&&"),
            ("a $HOME/b \"${PATH}\" $ \"5$\"", "[a_$HOME/b_${PATH}_$_5$]&&"),
        ] {
            assert_eq!(shown(script), expect, "{script}");
        }
    }

    #[test]
    fn redirections_are_removed_and_those_that_matter_are_noticed() {
        for (script, expect) in [
            ("a >/dev/null 2>&1", "[a]&&"),
            ("a &> /tmp/log", "[a]&&"),
            ("a 2> /tmp/x/log b", "[a_b]&&"),
            ("a > log", "[a]>&&"),
            ("a > /tmp/../etc/x", "[a]>&&"),
            ("a > $x", "[a]>&&"),
            ("a < /tmp/in", "[a]>&&"),
            ("a 2", "[a_2]&&"),
        ] {
            assert_eq!(shown(script), expect, "{script}");
        }
    }

    #[test]
    fn other_syntax_is_not_supported() {
        for script in [
            "if a; then b; fi",
            "for x in a; do b; done",
            "a <<EOF\nb\nEOF",
            "a $(b)",
            "a `b`",
            "a \"$(b)\"",
            "a <(b)",
            "f() { a; }",
            "{ a; }",
            "! a",
            "a 'b",
            "a \"b",
            "a \\",
            "(a",
            "a)",
            "()",
            "(a) b",
            "(a) | b",
            "(a) > x",
            "a | (b)",
            "(a &&)",
            "(a) && && b",
            "a &&",
            "a && # b",
            "a ||",
            "a |",
            "&& a",
            "; a",
            "a ;; b",
            "a >",
            "> x",
            "a ${x:-`b`}",
            "a $'b'",
            "(a)(b)",
        ] {
            assert_eq!(shown(script), "unsupported", "{script}");
        }
    }
}
