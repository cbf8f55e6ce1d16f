//! The bytes that each token stands for, computed once from the tokenizer's vocabulary and decoder.

use std::collections::HashMap;

use serde_json::Value;

use crate::error::{Error, Result};

/// How a tokenizer's `decoder` turns tokens into text, of the kinds that language models use.
#[derive(Debug, Default, PartialEq)]
pub struct Decoding {
    /// GPT-2's alphabet: each character of a token is a byte.
    pub byte_level: bool,
    /// `<0xNN>` is a byte (SentencePiece).
    pub byte_fallback: bool,
    pub replacements: Vec<(String, String)>,
    /// Metaspace: what stands for a space, and whether the first token's are dropped.
    pub drop_in_first: Option<char>,
    /// Strip: up to so many of this character are cut from the beginning of the text.
    pub strip: Option<(char, usize)>,
    /// No decoder: tokens are words with spaces between them.
    pub words: bool,
}

impl Decoding {
    pub fn from_json(decoder: &Value) -> Result<Decoding> {
        let mut decoding = Decoding { words: decoder.is_null(), ..Decoding::default() };
        let mut fused = false;
        for step in flatten(decoder) {
            let kind = step["type"].as_str().unwrap_or_default();
            let known = match kind {
                "Strip" => fused && step["stop"] == 0 && decoding.strip.is_none(),
                _ => !fused && !decoding.byte_level,
            };
            match kind {
                "Fuse" => fused = true,
                _ if !known => return Err(unsupported(step)),
                "ByteLevel" => decoding.byte_level = true,
                "ByteFallback" => decoding.byte_fallback = true,
                "Replace" => decoding.replacements.push((
                    step["pattern"]["String"].as_str().ok_or_else(|| unsupported(step))?.to_string(),
                    step["content"].as_str().unwrap_or_default().to_string(),
                )),
                "Metaspace" => {
                    let space = one_char(&step["replacement"]).ok_or_else(|| unsupported(step))?;
                    decoding.replacements.push((space.to_string(), " ".to_string()));
                    decoding.drop_in_first = (step["prepend_scheme"] != "never").then_some(space);
                }
                "Strip" => {
                    let content = one_char(&step["content"]).ok_or_else(|| unsupported(step))?;
                    decoding.strip = Some((content, step["start"].as_u64().unwrap_or(0) as usize));
                }
                _ => return Err(unsupported(step)),
            }
        }
        Ok(decoding)
    }

    /// The bytes of a token, and whether it is a byte of SentencePiece's.
    fn bytes(&self, token: &str, added: bool, alphabet: &HashMap<char, u8>) -> (Vec<u8>, bool) {
        if self.byte_level {
            let bytes = token.chars().map(|c| alphabet.get(&c).copied()).collect::<Option<Vec<u8>>>();
            return (bytes.filter(|_| !added).unwrap_or_else(|| token.as_bytes().to_vec()), false);
        }
        if let Some(byte) = self.byte_fallback.then(|| fallback_byte(token)).flatten() {
            return (vec![byte], true);
        }
        let replaced = self.replacements.iter().fold(token.to_string(), |text, (from, to)| text.replace(from, to));
        (replaced.into_bytes(), false)
    }
}

fn flatten(decoder: &Value) -> Vec<&Value> {
    match decoder["decoders"].as_array() {
        Some(steps) if decoder["type"] == "Sequence" => steps.iter().flat_map(flatten).collect(),
        _ if decoder.is_null() => Vec::new(),
        _ => vec![decoder],
    }
}

fn one_char(value: &Value) -> Option<char> {
    value.as_str().and_then(|s| s.chars().next())
}

fn unsupported(step: &Value) -> Error {
    Error::invalid(format!(
        "tokenizer.json: decoder: {step} is not supported here (ByteLevel, Metaspace, Replace, ByteFallback, Fuse and a \
         Strip at the start after Fuse are)"
    ))
}

fn fallback_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok()).flatten()
}

/// GPT-2's alphabet, character to byte: printable Latin-1 is itself, the other bytes are numbered from U+0100.
pub fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255u8).filter(|b| !printable(b)).zip('\u{100}'..).map(|(b, c)| (c, b));
    (0..=255u8).filter(printable).map(|b| (char::from(b), b)).chain(others).collect()
}

#[derive(Clone, Copy, Default)]
struct Entry {
    start: u32,
    end: u32,
    known: bool,
    special: bool,
    byte: bool,
}

pub struct Vocabulary {
    pub decoding: Decoding,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

/// A token as the tokenizer lists it.
pub struct Listed {
    pub content: String,
    pub id: u32,
    pub added: bool,
    pub special: bool,
}

impl Vocabulary {
    pub fn new(decoding: Decoding, tokens: Vec<Listed>) -> Vocabulary {
        let alphabet = byte_alphabet();
        let size = tokens.iter().map(|token| token.id as usize + 1).max().unwrap_or(0);
        let mut entries = vec![Entry::default(); size];
        let mut bytes = Vec::new();
        for token in tokens {
            let (own, byte) = decoding.bytes(&token.content, token.added, &alphabet);
            let start = bytes.len() as u32;
            bytes.extend(own);
            let end = bytes.len() as u32;
            entries[token.id as usize] = Entry { start, end, known: true, special: token.special, byte };
        }
        Vocabulary { decoding, entries, bytes }
    }

    /// The largest id + 1.
    pub fn size(&self) -> u32 {
        self.entries.len() as u32
    }

    pub fn is_known(&self, id: u32) -> bool {
        self.entry(id).known
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.entry(id).special
    }

    pub fn is_byte(&self, id: u32) -> bool {
        self.entry(id).byte
    }

    /// Empty for an unknown id.
    pub fn bytes(&self, id: u32) -> &[u8] {
        let entry = self.entry(id);
        &self.bytes[entry.start as usize..entry.end as usize]
    }

    fn entry(&self, id: u32) -> Entry {
        self.entries.get(id as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_alphabet_is_gpt2s() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet.len(), 256);
        for (c, b) in
            [('Ġ', b' '), ('Ċ', b'\n'), ('ĉ', b'\t'), ('é', 0xE9), ('Ń', 0xAD), ('Ā', 0), ('ł', 0xA0), ('~', b'~')]
        {
            assert_eq!(alphabet[&c], b, "{c}");
        }
    }

    #[test]
    fn llamas_decoder_is_read() {
        let decoder = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        let expected = Decoding {
            byte_fallback: true,
            replacements: vec![("▁".into(), " ".into())],
            strip: Some((' ', 1)),
            ..Decoding::default()
        };
        assert_eq!(Decoding::from_json(&decoder), Ok(expected));
    }

    #[test]
    fn a_decoder_that_looks_ahead_is_refused() {
        for decoder in [
            json!({"type": "CTC", "pad_token": "", "word_delimiter_token": "|", "cleanup": true}),
            json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}),
            json!({"type": "Replace", "pattern": {"Regex": "a+"}, "content": ""}),
            json!({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 0, "stop": 1}]}),
        ] {
            assert!(Decoding::from_json(&decoder).unwrap_err().message().contains("not supported"), "{decoder}");
        }
    }

    #[test]
    fn bytes_are_what_tokens_stand_for() {
        let tokens = [("Ġé", 0, false), ("Ġé", 2, true)].map(|(content, id, added)| Listed {
            content: content.into(),
            id,
            added,
            special: added,
        });
        let vocabulary = Vocabulary::new(Decoding { byte_level: true, ..Decoding::default() }, tokens.into());
        assert_eq!(vocabulary.bytes(0), b" \xE9");
        assert_eq!(vocabulary.bytes(2), "Ġé".as_bytes());
        assert!(vocabulary.is_special(2) && !vocabulary.is_known(1) && vocabulary.bytes(1).is_empty());
        assert_eq!(vocabulary.size(), 3);
    }
}
