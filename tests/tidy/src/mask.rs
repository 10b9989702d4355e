//! Blanks out parts of Rust source so that rules can search the rest: code without comments and literals, or only comments.
//!
//! It is a lexer, not a parser: it knows comments (nested), strings (raw, byte, C), characters and lifetimes, and nothing else.
//!
//! Invariant: both masks have the length and the line breaks of the source, so positions in them are positions in it.

/// Source text taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// The code; comments and the insides of literals are spaces.
    pub code: String,
    /// The comments; everything else is spaces.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

impl Mask {
    /// Takes `source` apart.
    pub fn new(source: &str) -> Self {
        let text = source.as_bytes();
        let mut mask = Self { code: String::with_capacity(text.len()), comments: String::with_capacity(text.len()) };
        let mut at = 0;
        while at < text.len() {
            let (part, len) = next_part(text, at);
            for &byte in text.iter().skip(at).take(len) {
                mask.push(part, byte);
            }
            at += len;
        }
        mask
    }

    /// Bytes outside of ASCII become spaces, so that one byte of the source stays one byte of the mask.
    fn push(&mut self, part: Part, byte: u8) {
        let shown = if byte.is_ascii() { char::from(byte) } else { ' ' };
        let blank = if byte == b'\n' { '\n' } else { ' ' };
        self.code.push(if part == Part::Code { shown } else { blank });
        self.comments.push(if part == Part::Comment { shown } else { blank });
    }
}

/// What stands at `at` and how long it is; at least one byte.
fn next_part(text: &[u8], at: usize) -> (Part, usize) {
    let rest = text.get(at..).unwrap_or_default();
    if rest.starts_with(b"//") {
        return (Part::Comment, until(rest, b'\n'));
    }
    if rest.starts_with(b"/*") {
        return (Part::Comment, block_comment(rest));
    }
    let in_word = at > 0 && text.get(at - 1).is_some_and(|byte| is_word(*byte));
    if !in_word && let Some(len) = raw_string(rest) {
        return (Part::Literal, len);
    }
    match rest.first() {
        Some(b'"') => (Part::Literal, quoted(rest, b'"')),
        Some(b'\'') => character(rest).map_or((Part::Code, 1), |len| (Part::Literal, len)),
        _ => (Part::Code, 1),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn until(rest: &[u8], end: u8) -> usize {
    rest.iter().position(|byte| *byte == end).unwrap_or(rest.len())
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let two = rest.get(at..at + 2).unwrap_or_default();
        match two {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of a raw string (`r"`, `r#"`, `br#"`, `cr#"`), if one starts here.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = match rest {
        [b'b' | b'c', b'r', ..] => 2,
        [b'r', ..] => 1,
        _ => return None,
    };
    let after = rest.get(prefix..)?;
    let hashes = after.iter().take_while(|byte| **byte == b'#').count();
    if after.get(hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let start = prefix + hashes + 1;
    let inside = rest.get(start..)?;
    let len = inside
        .windows(end.len())
        .position(|window| window == end)
        .map_or(inside.len(), |position| position + end.len());
    Some(start + len)
}

/// The length of a quoted literal with escapes, both quotes included.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        if *byte == quote {
            return at + 1;
        }
        at += if *byte == b'\\' { 2 } else { 1 };
    }
    rest.len()
}

/// The length of a character literal; nothing when the quote starts a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return Some(quoted(rest, b'\''));
    }
    // A character is at most four bytes of UTF-8; a lifetime has no quote after its first one.
    let text = rest.get(1..rest.len().min(6))?;
    let first = *text.first()?;
    let len = match first {
        0x00..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
    };
    (text.get(len) == Some(&b'\'')).then_some(len + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Underscores in `code` and `comments` stand for blanked bytes.
    fn check(source: &str, code: &str, comments: &str) {
        let mask = Mask::new(source);
        assert_eq!(mask.code.replace(' ', "_"), code.replace(' ', "_"));
        assert_eq!(mask.comments.replace(' ', "_"), comments.replace(' ', "_"));
    }

    #[test]
    fn comments_end_where_they_should() {
        check("a // b\nc", "a     \nc", "  // b\n ");
        check("a /* { /* b */ } */ c", "a                   c", "  /* { /* b */ } */  ");
        check("a /* open", "a        ", "  /* open");
    }

    #[test]
    fn literals_hide_braces_and_comment_marks() {
        check(r#"f("{ // }");"#, "f(        );", "            ");
        check(r#"f("\"{");"#, "f(     );", "         ");
        check(r###"f(r#"}"{"#);"###, "f(        );", "            ");
        check(r#"f(br"\");"#, "f(     );", "         ");
        check(r#"for"x""#, "for   ", "      ");
    }

    #[test]
    fn characters_are_not_lifetimes() {
        let mask = Mask::new("f('{', '\\'', '\\u{7d}', 'é')");
        assert_eq!(mask.code.replace(' ', ""), "f(,,,)");
        for source in ["fn f<'a>(x: &'a str)", "'outer: loop {"] {
            assert_eq!(Mask::new(source).code, source);
        }
    }

    #[test]
    fn positions_survive_text_outside_of_ascii() {
        let source = "let a = 'é'; // ü\nlet b;";
        let mask = Mask::new(source);
        assert_eq!(mask.code.len(), source.len());
        assert_eq!(mask.code.find("let b"), source.find("let b"));
    }
}
