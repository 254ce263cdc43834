//! Shows a command as the agent wrote it, without the shell that Codex wraps around it.
//!
//! The result is only for display. A command that cannot be unwrapped with certainty is shown unchanged.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

/// Unwraps `/bin/bash -lc 'ls -a'` to `ls -a`. Returns any other command unchanged.
pub fn unwrap_shell(command: &str) -> Cow<'_, str> {
    let Some(words) = split_words(command) else { return Cow::Borrowed(command) };
    let Ok([shell, flag, script]) = <[String; 3]>::try_from(words) else { return Cow::Borrowed(command) };
    let shell = shell.rsplit('/').next().unwrap_or_default();
    if matches!(shell, "bash" | "sh" | "zsh" | "dash") && matches!(flag.as_str(), "-lc" | "-c") {
        Cow::Owned(script)
    } else {
        Cow::Borrowed(command)
    }
}

/// Splits off up to four words and removes their quotes. Returns `None` if a quote is not closed. Expands nothing.
fn split_words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = command.chars().peekable();
    while words.len() < 4 {
        while rest.next_if(char::is_ascii_whitespace).is_some() {}
        if rest.peek().is_none() {
            break;
        }
        words.push(next_word(&mut rest)?);
    }
    Some(words)
}

fn next_word(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut word = String::new();
    while let Some(character) = rest.next_if(|character| !character.is_ascii_whitespace()) {
        match character {
            '\'' => loop {
                match rest.next()? {
                    '\'' => break,
                    quoted => word.push(quoted),
                }
            },
            '"' => double_quoted(rest, &mut word)?,
            '\\' => word.push(rest.next()?),
            plain => word.push(plain),
        }
    }
    Some(word)
}

fn double_quoted(rest: &mut Peekable<Chars<'_>>, word: &mut String) -> Option<()> {
    loop {
        match rest.next()? {
            '"' => return Some(()),
            '\\' => match rest.next()? {
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                '\n' => {}
                other => word.extend(['\\', other]),
            },
            quoted => word.push(quoted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &str, expect: &str) {
        assert_eq!(unwrap_shell(command), expect, "{command:?}");
    }

    #[test]
    fn the_wrapper_goes_and_the_quoting_with_it() {
        check("/bin/bash -lc 'echo out; echo err >&2'", "echo out; echo err >&2");
        check("/bin/bash -lc ls", "ls");
        check("bash -lc \"grep -E 'a|b' \\\"$x\\\" \\$y c\\d\"", "grep -E 'a|b' \"$x\" $y c\\d");
        check("/usr/bin/zsh -c 'it'\\''s'", "it's");
        check("/bin/sh -c 'cat <<EOF\nhello\nEOF\n'", "cat <<EOF\nhello\nEOF\n");
    }

    #[test]
    fn what_is_not_a_wrapper_stays_as_it_is() {
        for command in
            ["", "ls -a", "bash script.sh", "/bin/bash -lc 'open", "bash -lc 'a' b", "python -c 'print(1)'", "sh -x 'a'"]
        {
            check(command, command);
        }
    }
}
