//! The languages for syntax highlighting: tables of keywords and of the delimiters of comments and strings. Files in unlisted
//! languages are shown as plain text.

/// The delimiters of a string or comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delimiters {
    pub(crate) open: &'static str,
    pub(crate) close: &'static str,
    /// Whether a backslash escapes the next character.
    pub(crate) escapes: bool,
    /// Whether the string or comment may continue on the next line.
    pub(crate) multiline: bool,
}

const fn span(open: &'static str, close: &'static str) -> Delimiters {
    Delimiters { open, close, escapes: true, multiline: false }
}

const fn long(open: &'static str, close: &'static str) -> Delimiters {
    Delimiters { open, close, escapes: false, multiline: true }
}

/// How a language is tokenized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// Words, strings and comments.
    Code,
    /// Like `Code`, but words that start with a capital letter are types.
    Typed,
    /// Names before `:` or `=` are keys.
    Keys,
    /// Text with `<tags>`.
    Markup,
    /// Text with headings, and with code between backticks.
    Prose,
}

/// A language.
#[derive(Debug, PartialEq, Eq)]
pub struct Language {
    /// The names of the language, its file extensions and its file names, separated by spaces.
    pub(crate) names: &'static str,
    pub(crate) syntax: Syntax,
    pub(crate) line_comments: &'static [&'static str],
    pub(crate) comments: &'static [Delimiters],
    pub(crate) strings: &'static [Delimiters],
    /// Prefixes of attributes or annotations, such as `@` and `#[`.
    pub(crate) attributes: &'static [&'static str],
    pub(crate) keywords: &'static str,
}

const SLASHES: &[&str] = &["//"];
const HASH: &[&str] = &["#"];
const C_COMMENT: &[Delimiters] = &[long("/*", "*/")];
const QUOTES: &[Delimiters] = &[span("\"", "\""), span("'", "'")];
const SCRIPT_QUOTES: &[Delimiters] =
    &[span("\"", "\""), span("'", "'"), Delimiters { open: "`", close: "`", escapes: true, multiline: true }];
const TRIPLE: &[Delimiters] = &[long("\"\"\"", "\"\"\""), long("'''", "'''"), span("\"", "\""), span("'", "'")];

const PLAIN: Language = Language {
    names: "",
    syntax: Syntax::Code,
    line_comments: &[],
    comments: &[],
    strings: QUOTES,
    attributes: &[],
    keywords: "",
};
const C_LIKE: Language =
    Language { syntax: Syntax::Typed, line_comments: SLASHES, comments: C_COMMENT, attributes: &["@"], ..PLAIN };

/// All supported languages.
pub(crate) static LANGUAGES: &[Language] = &[
    Language {
        names: "rust rs",
        strings: &[
            long("r##\"", "\"##"),
            long("r#\"", "\"#"),
            long("r\"", "\""),
            Delimiters { open: "\"", close: "\"", escapes: true, multiline: true },
        ],
        attributes: &["#[", "#!["],
        keywords: "as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut \
            pub ref return self Self static struct super trait true type unsafe use where while macro_rules union yield \
            bool char str u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64",
        ..C_LIKE
    },
    Language {
        names: "c h cc cpp cxx hpp hh c++ cu glsl m mm",
        attributes: &[
            "#include", "#define", "#ifdef", "#ifndef", "#if", "#else", "#elif", "#endif", "#pragma", "#undef", "#error",
        ],
        keywords: "alignas auto bool break case catch char class const constexpr continue default delete do double else enum explicit \
            extern false float for friend goto if inline int long mutable namespace new noexcept nullptr NULL operator override private \
            protected public register return short signed sizeof static static_cast struct switch template this throw true try typedef \
            typename union unsigned using virtual void volatile while int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t",
        ..C_LIKE
    },
    Language {
        names: "java scala groovy gradle",
        strings: &[long("\"\"\"", "\"\"\""), span("\"", "\""), span("'", "'")],
        keywords: "abstract assert boolean break byte case catch char class const continue def default do double else enum extends false \
            final finally float for if implements import instanceof int interface lazy long match native new null object override package \
            private protected public record return sealed short static super switch synchronized this throw throws trait transient true \
            try type val var void volatile while with yield",
        ..C_LIKE
    },
    Language {
        names: "kotlin kt kts swift dart",
        strings: &[long("\"\"\"", "\"\"\""), span("\"", "\""), span("'", "'")],
        keywords: "abstract actor as async await break by case catch class companion const constructor continue data default defer do else \
            enum extends extension false final finally for fun func get guard if implements import in infix init inline interface internal \
            is late lateinit let mixin null nil object open operator out override package private protected protocol public required return \
            sealed self set static struct super suspend switch this throw throws true try typealias val var vararg void when where while with yield",
        ..C_LIKE
    },
    Language {
        names: "go golang",
        strings: &[span("\"", "\""), span("'", "'"), long("`", "`")],
        attributes: &[],
        keywords: "any append bool break byte cap case chan complex128 const continue copy default defer delete else error fallthrough false \
            float32 float64 for func go goto if import int int8 int16 int32 int64 interface iota len make map new nil package panic range \
            recover return rune select string struct switch true type uint uint8 uint16 uint32 uint64 uintptr var",
        ..C_LIKE
    },
    Language {
        names: "javascript js mjs cjs jsx typescript ts tsx mts cts node",
        strings: SCRIPT_QUOTES,
        keywords: "abstract any as asserts async await boolean break case catch class const continue debugger declare default delete do else \
            enum export extends false finally for from function get if implements import in infer instanceof interface is keyof let namespace \
            never new null number object of private protected public readonly return satisfies set static string super switch symbol this \
            throw true try type typeof undefined unknown var void while with yield",
        ..C_LIKE
    },
    Language {
        names: "csharp cs c#",
        strings: &[long("@\"", "\""), span("\"", "\""), span("'", "'")],
        attributes: &["#region", "#endregion", "#if", "#endif"],
        keywords: "abstract as async await base bool break byte case catch char checked class const continue decimal default delegate do \
            double else enum event explicit extern false finally fixed float for foreach get goto if implicit in init int interface internal is \
            lock long namespace new null object operator out override params partial private protected public readonly record ref required \
            return sealed set short sizeof static string struct switch this throw true try typeof uint ulong unchecked unsafe ushort using var \
            virtual void volatile when where while yield",
        ..C_LIKE
    },
    Language {
        names: "php",
        line_comments: &["//", "#"],
        strings: &[
            Delimiters { open: "\"", close: "\"", escapes: true, multiline: true },
            Delimiters { open: "'", close: "'", escapes: true, multiline: true },
        ],
        keywords: "abstract array as bool break callable case catch class clone const continue declare default do echo else elseif empty enum \
            extends false final finally float fn for foreach function global if implements include instanceof int interface isset list match \
            mixed namespace new null object print private protected public readonly require require_once return self static string switch \
            throw trait true try unset use var void while yield",
        ..C_LIKE
    },
    Language {
        names: "python py pyi pyw bzl bazel starlark",
        syntax: Syntax::Typed,
        line_comments: HASH,
        strings: TRIPLE,
        attributes: &["@"],
        keywords: "False None True and as assert async await break case class continue def del elif else except finally for from global if \
            import in is lambda match nonlocal not or pass raise return self try while with yield",
        ..PLAIN
    },
    Language {
        names: "ruby rb rake gemfile rakefile crystal elixir ex exs",
        syntax: Syntax::Typed,
        line_comments: HASH,
        attributes: &["@"],
        keywords: "BEGIN END alias and begin break case class def defmodule defp do else elsif end ensure false fn for if in module next nil not \
            or raise redo require rescue retry return self super then true undef unless until use when while yield",
        ..PLAIN
    },
    Language {
        names: "shell sh bash zsh fish ksh console bashrc profile zshrc",
        line_comments: HASH,
        strings: &[Delimiters { open: "\"", close: "\"", escapes: true, multiline: true }, long("'", "'")],
        attributes: &["$"],
        keywords: "alias break case cd continue do done echo elif else esac eval exec exit export fi for function if in local printf read \
            readonly return set shift source then trap unset until while",
        ..PLAIN
    },
    Language {
        names: "dockerfile containerfile",
        line_comments: HASH,
        attributes: &["$"],
        keywords: "ADD ARG AS CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR",
        ..PLAIN
    },
    Language {
        names: "make makefile mk gnumakefile cmake cmakelists.txt just justfile",
        line_comments: HASH,
        attributes: &["$(", "${", "$"],
        keywords: "define else endef endif endforeach endfunction export foreach function if ifdef ifeq ifndef ifneq include override set unexport",
        ..PLAIN
    },
    Language {
        names: "sql psql mysql sqlite",
        line_comments: &["--"],
        comments: C_COMMENT,
        keywords: "add all alter and as asc begin between by cascade case check column commit constraint create cross default delete desc \
            distinct drop else end exists false foreign from full group having if in index inner insert into is join key left like limit not \
            null offset on or order outer primary references returning right rollback select set table then true union unique update using \
            values view when where with integer text boolean timestamp varchar",
        ..PLAIN
    },
    Language {
        names: "lua luau",
        line_comments: &["--"],
        comments: &[long("--[[", "]]")],
        strings: &[span("\"", "\""), span("'", "'"), long("[[", "]]")],
        keywords: "and break do else elseif end false for function goto if in local nil not or repeat return then true until while",
        ..PLAIN
    },
    Language {
        names: "haskell hs elm purescript",
        syntax: Syntax::Typed,
        line_comments: &["--"],
        comments: &[long("{-", "-}")],
        strings: &[span("\"", "\"")],
        keywords: "case class data deriving do else family forall foreign if import in infix infixl infixr instance let module newtype of then type where",
        ..PLAIN
    },
    Language {
        names: "zig nix hcl tf terraform proto protobuf graphql gql",
        line_comments: &["//", "#"],
        comments: C_COMMENT,
        keywords: "and break comptime const continue defer else enum error export extend extends false fn for if import in inherit input interface let \
            locals map message module mutation null option optional or orelse output package provider pub query reserved rec repeated resource return rpc \
            scalar service struct subscription switch syntax then true try type undefined union var variable while with",
        ..C_LIKE
    },
    Language {
        names: "css scss sass less",
        syntax: Syntax::Keys,
        line_comments: SLASHES,
        comments: C_COMMENT,
        attributes: &["@", "--", "$"],
        keywords: "important inherit initial unset none auto",
        ..PLAIN
    },
    Language {
        names: "json jsonc json5 webmanifest ipynb",
        syntax: Syntax::Keys,
        line_comments: SLASHES,
        comments: C_COMMENT,
        strings: &[span("\"", "\"")],
        keywords: "true false null",
        ..PLAIN
    },
    Language {
        names: "yaml yml",
        syntax: Syntax::Keys,
        line_comments: HASH,
        attributes: &["&", "*", "!"],
        keywords: "true false null yes no on off",
        ..PLAIN
    },
    Language {
        names: "toml cargo.lock poetry.lock ini cfg conf properties editorconfig gitconfig service env",
        syntax: Syntax::Keys,
        line_comments: &["#", ";"],
        strings: TRIPLE,
        keywords: "true false",
        ..PLAIN
    },
    Language {
        names: "html htm xml svg xhtml vue svelte xsl plist csproj xaml",
        syntax: Syntax::Markup,
        comments: &[long("<!--", "-->")],
        ..PLAIN
    },
    Language {
        names: "markdown md mdx mdown rst",
        syntax: Syntax::Prose,
        comments: &[long("<!--", "-->")],
        strings: &[long("```", "```"), Delimiters { open: "`", close: "`", escapes: false, multiline: false }],
        ..PLAIN
    },
];
