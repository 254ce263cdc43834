//! Splits source code into tokens for syntax highlighting, such as comments, strings, numbers and keywords. It does not parse
//! the grammar of a language.
//!
//! [`Tokenizer::line`] processes one line at a time and looks at each byte a fixed number of times, so hostile text cannot slow it
//! down. Invariant: the last token of a line ends where the line ends.

mod languages;

pub use languages::Language;
use languages::{Delimiters, LANGUAGES, Syntax};

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// A comment.
    Comment,
    /// A string.
    Text,
    /// A number.
    Number,
    /// A keyword.
    Keyword,
    /// The name of a function in a call.
    Function,
    /// A type.
    Type,
    /// A key, an attribute or an annotation.
    Attribute,
}

/// The end of a token as a byte offset in its line, and the kind of the token.
pub type Piece = (usize, Option<Token>);

impl Language {
    /// Returns the language of a file, based on its name.
    pub fn of_file(path: &str) -> Option<&'static Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let end = name.rsplit_once('.').map(|(_, end)| end);
        Self::called(name).or_else(|| Self::called(end?))
    }

    /// Returns a language by name, such as the info string of a code block.
    pub fn named(info: &str) -> Option<&'static Self> {
        Self::called(info.split([' ', ',', '{', '\t']).next()?)
    }

    fn called(name: &str) -> Option<&'static Self> {
        let name = name.to_ascii_lowercase();
        LANGUAGES.iter().find(|language| language.names.split(' ').any(|known| known == name))
    }

    fn is_keyword(&self, word: &str) -> bool {
        let is_sql = self.names.starts_with("sql");
        self.keywords.split_ascii_whitespace().any(|known| if is_sql { known.eq_ignore_ascii_case(word) } else { known == word })
    }
}

/// A construct that continues on the next line.
#[derive(Debug, Clone, Copy)]
enum Inside {
    Nothing,
    Delimited(Delimiters, Token),
    Tag,
}

/// Tokenizes code line by line.
#[derive(Debug)]
pub struct Tokenizer {
    language: &'static Language,
    inside: Inside,
}

impl Tokenizer {
    /// Creates a tokenizer that starts at the beginning of a file.
    pub fn new(language: &'static Language) -> Self {
        Self { language, inside: Inside::Nothing }
    }

    /// Returns the tokens of the next line.
    pub fn line(&mut self, line: &str) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = vec![];
        let mut at = 0;
        while at < line.len() {
            let (length, token) = self.next(line, at);
            at += length.max(1);
            while !line.is_char_boundary(at) {
                at += 1;
            }
            match pieces.last_mut() {
                Some(last) if last.1 == token => last.0 = at,
                _ => pieces.push((at, token)),
            }
        }
        if let Inside::Delimited(Delimiters { multiline: false, .. }, _) = self.inside {
            self.inside = Inside::Nothing;
        }
        pieces
    }

    /// Returns the length and the kind of the token that starts at `at`.
    fn next(&mut self, line: &str, at: usize) -> (usize, Option<Token>) {
        let rest = &line[at..];
        match self.inside {
            Inside::Delimited(span, token) => (self.end_of(span, rest), Some(token)),
            Inside::Tag => self.in_tag(rest),
            Inside::Nothing if self.language.syntax == Syntax::Markup => self.markup(rest),
            Inside::Nothing => self.code(line, at),
        }
    }

    /// Returns the length up to the end of the current string or comment, which may be on a later line.
    fn end_of(&mut self, span: Delimiters, rest: &str) -> usize {
        let mut from = 0;
        while from < rest.len() {
            if span.escapes && rest.as_bytes()[from] == b'\\' {
                from += 2;
            } else if rest.as_bytes()[from..].starts_with(span.close.as_bytes()) {
                self.inside = Inside::Nothing;
                return from + span.close.len();
            } else {
                from += 1;
            }
        }
        rest.len()
    }

    fn opened(&mut self, spans: &[Delimiters], token: Token, rest: &str) -> Option<(usize, Option<Token>)> {
        let span = spans.iter().find(|span| rest.starts_with(span.open))?;
        self.inside = Inside::Delimited(*span, token);
        let inner = self.end_of(*span, &rest[span.open.len()..]);
        Some((span.open.len() + inner, Some(token)))
    }

    fn code(&mut self, line: &str, at: usize) -> (usize, Option<Token>) {
        let (language, rest) = (self.language, &line[at..]);
        let before = line[..at].chars().next_back();
        if language.syntax == Syntax::Prose && at == 0 && rest.starts_with('#') {
            return (rest.len(), Some(Token::Keyword));
        }
        if let Some(found) = self.opened(language.comments, Token::Comment, rest) {
            return found;
        }
        let is_apart = before.is_none_or(char::is_whitespace);
        // `$#` and `http://` do not start comments.
        if language.line_comments.iter().any(|open| rest.starts_with(open) && (is_apart || *open == "//" && before != Some(':')))
        {
            return (rest.len(), Some(Token::Comment));
        }
        let is_word_before = before.is_some_and(is_word);
        if language.names.starts_with("rust") && rest.starts_with('\'') {
            return character(rest);
        }
        // An `r` at the end of a word is not the prefix of a string.
        if !(is_word_before && rest.starts_with('r'))
            && let Some((length, token)) = self.opened(language.strings, Token::Text, rest)
        {
            let is_key = language.syntax == Syntax::Keys && is_key(&rest[length..]);
            return (length, if is_key { Some(Token::Attribute) } else { token });
        }
        if language.syntax == Syntax::Prose {
            return (1, None);
        }
        if let Some(open) = language.attributes.iter().find(|open| rest.starts_with(**open)) {
            let name = word(&rest[open.len()..], &[':', '.', '-']);
            return (open.len() + name, Some(Token::Attribute).filter(|_| name > 0 || open.len() > 1));
        }
        let first = rest.chars().next().unwrap_or_default();
        if first.is_ascii_digit() && !is_word_before {
            return (word(rest, &['.']), Some(Token::Number));
        }
        if is_word(first) { self.word(rest) } else { (first.len_utf8(), None) }
    }

    fn word(&self, rest: &str) -> (usize, Option<Token>) {
        let language = self.language;
        let extra: &[char] = if language.syntax == Syntax::Keys { &['-', '.'] } else { &[] };
        let length = word(rest, extra);
        let (name, behind) = rest.split_at(length);
        let is_type = language.syntax == Syntax::Typed && name.starts_with(|first: char| first.is_uppercase());
        let token = match () {
            () if language.syntax == Syntax::Keys && is_key(behind) => Some(Token::Attribute),
            () if language.is_keyword(name) => Some(Token::Keyword),
            () if behind.starts_with('(') || behind.starts_with("!(") || behind.starts_with("::<") => Some(Token::Function),
            () if is_type => Some(Token::Type),
            () => None,
        };
        (length, token)
    }

    fn markup(&mut self, rest: &str) -> (usize, Option<Token>) {
        if let Some(found) = self.opened(self.language.comments, Token::Comment, rest) {
            return found;
        }
        let name = rest.strip_prefix("</").or_else(|| rest.strip_prefix('<'));
        match name {
            Some(name) if name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '!' || first == '?') => {
                self.inside = Inside::Tag;
                (rest.len() - name.len() + 1 + word(&name[1..], &['-', ':', '.']), Some(Token::Keyword))
            }
            _ => (rest.find('<').filter(|at| *at > 0).unwrap_or(if name.is_some() { 1 } else { rest.len() }), None),
        }
    }

    fn in_tag(&mut self, rest: &str) -> (usize, Option<Token>) {
        if rest.starts_with('>') {
            self.inside = Inside::Nothing;
            return (1, Some(Token::Keyword));
        }
        for quote in ["\"", "'"] {
            if let Some(inner) = rest.strip_prefix(quote) {
                return (1 + inner.find(quote).map_or(inner.len(), |end| end + 1), Some(Token::Text));
            }
        }
        match word(rest, &['-', ':', '@', '.']) {
            0 => (1, None),
            length => (length, Some(Token::Attribute)),
        }
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Returns the length of the word at the start of a text. Words may contain the characters in `extra`.
fn word(text: &str, extra: &[char]) -> usize {
    text.find(|letter: char| !is_word(letter) && !extra.contains(&letter)).unwrap_or(text.len())
}

fn is_key(behind: &str) -> bool {
    let behind = behind.trim_start_matches([' ', '\t']);
    (behind.starts_with(':') && !behind.starts_with("::")) || (behind.starts_with('=') && !behind.starts_with("=="))
}

/// Distinguishes the character `'a'` from the lifetime `'a`.
fn character(rest: &str) -> (usize, Option<Token>) {
    let mut letters = rest.char_indices().skip(1);
    let closing = match letters.next() {
        Some((_, '\\')) => rest[2..].char_indices().skip(1).take(12).find(|(_, letter)| *letter == '\'').map(|(at, _)| at + 2),
        Some(_) => letters.next().filter(|(_, letter)| *letter == '\'').map(|(at, _)| at),
        None => None,
    };
    match closing {
        Some(at) => (at + 1, Some(Token::Text)),
        None => (1 + word(&rest[1..], &[]), Some(Token::Attribute)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Formats the tokens as `Token:text`.
    fn read(language: &str, text: &str) -> String {
        let mut tokenizer = Tokenizer::new(Language::named(language).expect("the language is known"));
        let mut found = vec![];
        for line in text.split('\n') {
            let mut from = 0;
            for (end, token) in tokenizer.line(line) {
                found.extend(token.map(|token| format!("{token:?}:{}", &line[from..end])));
                from = end;
            }
        }
        found.join(" ")
    }

    #[test]
    fn rust_is_read() {
        let found = read("rust", "// why\n#[test]\nfn f<'a>(x: &'a Str) -> u8 { g(\"a\\\"b\", '\\n', 1.5) } // x");
        assert_eq!(
            found,
            "Comment:// why Attribute:#[test Keyword:fn Attribute:'a Attribute:'a Type:Str Keyword:u8 Function:g \
             Text:\"a\\\"b\" Text:'\\n' Number:1.5 Comment:// x"
        );
        assert_eq!(read("rust", "a(r#\"x \" y\"#); /* a\nb */ c"), "Function:a Text:r#\"x \" y\"# Comment:/* a Comment:b */");
    }

    #[test]
    fn other_languages_are_read() {
        for (language, text, expect) in [
            (
                "python",
                "@a.b\ndef f():\n  \"\"\"x\ny\"\"\" # z",
                "Attribute:@a.b Keyword:def Function:f Text:\"\"\"x Text:y\"\"\" Comment:# z",
            ),
            (
                "sh",
                "if [ \"$a\" ]; then echo $b # c\ncurl http://x#y",
                "Keyword:if Text:\"$a\" Keyword:then Keyword:echo Attribute:$b Comment:# c",
            ),
            ("js", "const a = `x\n${y}`; f(null)", "Keyword:const Text:`x Text:${y}` Function:f Keyword:null"),
            ("json", "{\"a\": [1, true, \"b\"]}", "Attribute:\"a\" Number:1 Keyword:true Text:\"b\""),
            ("yaml", "a-b: no # c", "Attribute:a-b Keyword:no Comment:# c"),
            ("toml", "[x]\na = \"b\"", "Attribute:a Text:\"b\""),
            (
                "html",
                "a <b c=\"d\">e</b> <!-- f\ng --> < h",
                "Keyword:<b Attribute:c Text:\"d\" Keyword:> Keyword:</b> Comment:<!-- f Comment:g -->",
            ),
            ("sql", "SELECT a -- b", "Keyword:SELECT Comment:-- b"),
            ("markdown", "# a\nb `c` d", "Keyword:# a Text:`c`"),
            ("css", "a { color: red; } /* b */", "Attribute:color Comment:/* b */"),
        ] {
            assert_eq!(read(language, text), expect, "{language}");
        }
    }

    #[test]
    fn languages_are_known_by_their_names_and_files() {
        for path in [
            "src/a.rs",
            "a.py",
            "b/c.ts",
            "x.TSX",
            "Makefile",
            "a/Dockerfile",
            "Cargo.toml",
            "Cargo.lock",
            "a.sh",
            "A.java",
            "a.kt",
            "a.c",
        ] {
            assert!(Language::of_file(path).is_some(), "{path}");
        }
        for path in ["", "a", "notes.txt", "a/.", "x.<script>", "a.", "rust/x"] {
            assert!(Language::of_file(path).is_none(), "{path}");
        }
        for (info, is_known) in
            [("rust", true), ("js", true), ("rust,ignore", true), ("sh {x}", true), ("", false), ("text", false)]
        {
            assert_eq!(Language::named(info).is_some(), is_known, "{info}");
        }
    }

    #[test]
    fn what_continues_on_the_next_line_is_what_the_language_allows() {
        let check = |language: &str, text: &str, expect: &str| assert_eq!(read(language, text), expect, "{language}: {text}");
        check("c", "/* a\nb\nc */ d", "Comment:/* a Comment:b Comment:c */");
        check("js", "\"a\nb", "Text:\"a");
        check("js", "`a\nb` c", "Text:`a Text:b`");
        check("python", "'''a\n'b'\n''' c", "Text:'''a Text:'b' Text:'''");
        check("python", "'a\nb", "Text:'a");
        check("html", "<a\nb='c'\n>d", "Keyword:<a Attribute:b Text:'c' Keyword:>");
        check("rust", "r#\"a\nb\"# c", "Text:r#\"a Text:b\"#");
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        let check = |language: &str, text: &str, expect: &str| assert_eq!(read(language, text), expect, "{language}: {text}");
        check("js", r#""a\"b" c"#, r#"Text:"a\"b""#);
        check("js", r#""a\\" b"#, r#"Text:"a\\""#);
        check("js", r#""a\"#, r#"Text:"a\"#);
        check("rust", r"'\'' 'a' '\u{1F600}' 'static", r"Text:'\'' Text:'a' Text:'\u{1F600}' Attribute:'static");
    }

    #[test]
    fn only_whole_words_are_keywords() {
        let check = |language: &str, text: &str, expect: &str| assert_eq!(read(language, text), expect, "{language}: {text}");
        check("rust", "fn fnord fn_ _fn", "Keyword:fn");
        check("sql", "select Select SELECT selected", "Keyword:select Keyword:Select Keyword:SELECT");
        check("python", "def Def", "Keyword:def Type:Def");
    }

    #[test]
    fn a_number_is_not_part_of_a_word() {
        let check = |text: &str, expect: &str| assert_eq!(read("c", text), expect, "{text}");
        check("1 0x1F 1.5 1_000", "Number:1 Number:0x1F Number:1.5 Number:1_000");
        check("a1 _1 é1", "");
        check("(1)", "Number:1");
    }

    #[test]
    fn an_open_comment_ends_with_its_file_and_not_with_an_empty_line() {
        let language = Language::named("c").expect("the language is known");
        let mut tokenizer = Tokenizer::new(language);
        assert_eq!(tokenizer.line("/* open"), [(7, Some(Token::Comment))]);
        assert_eq!(tokenizer.line(""), []);
        assert_eq!(tokenizer.line("still"), [(5, Some(Token::Comment))]);
        assert_eq!(Tokenizer::new(language).line("still"), [(5, None)]);
    }

    #[test]
    fn a_file_is_known_by_the_last_ending_of_its_own_name() {
        let names = |path: &str| Language::of_file(path).map(|language| language.names);
        let rust = names("x.rs");
        assert_eq!([names("a.tar.rs"), names("folder.py/main.rs"), names("X.RS")], [rust, rust, rust]);
        assert_eq!(names("MAKEFILE"), names("Makefile"));
        assert_ne!(rust, names("x.py"));
    }

    #[test]
    fn a_long_and_odd_line_is_read_in_passing() {
        for language in LANGUAGES {
            let name = language.names.split(' ').next().expect("the language has a name");
            for odd in ["\"", "'", "/*", "<", "\\", "r#\"", "#[", "((((", "$", "é", "::<", "<a ", "--[["] {
                let line = odd.repeat(5_000);
                assert_eq!(
                    Tokenizer::new(Language::named(name).expect("the language is known")).line(&line).last().map(|piece| piece.0),
                    Some(line.len()),
                    "{name} {odd}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_follow_each_other_to_the_end_of_their_line(
            text in "([a-z(){}\\[\\]\"'`/*<>&;:=#$@!\\\\ é\u{1F600}\t\n0-9-]|fn |r#\"|//|/\\*|<!--|\"\"\"){0,120}"
        ) {
            for language in LANGUAGES {
                let mut tokenizer = Tokenizer::new(language);
                for line in text.split('\n') {
                    let mut from = 0;
                    for (end, _) in tokenizer.line(line) {
                        prop_assert!(end > from && line.is_char_boundary(end));
                        from = end;
                    }
                    prop_assert_eq!(from, line.len());
                }
            }
        }
    }
}
