//! Tokens to text, one at a time. `Decode` of many tokens is this too, so the two can never differ.

use std::sync::Arc;

use crate::vocabulary::Vocabulary;

const REPLACEMENT: &str = "\u{FFFD}";

/// One thread at a time. The work for a token depends on that token alone.
pub struct DecodeStream {
    vocabulary: Arc<Vocabulary>,
    skip_special_tokens: bool,
    /// The beginning of a character: at most three bytes between calls.
    pending: Vec<u8>,
    first: bool,
    /// How many characters may still be stripped from the text's beginning.
    strip_left: usize,
}

impl DecodeStream {
    pub fn new(vocabulary: Arc<Vocabulary>, skip_special_tokens: bool) -> DecodeStream {
        let strip_left = vocabulary.decoding.strip.map_or(0, |(_, count)| count);
        DecodeStream { vocabulary, skip_special_tokens, pending: Vec::new(), first: true, strip_left }
    }

    /// Appends the text that became certain with this token: whole characters. An unknown id is no text.
    pub fn push(&mut self, id: u32, text: &mut String) {
        let vocabulary = Arc::clone(&self.vocabulary);
        if !vocabulary.is_known(id) || (self.skip_special_tokens && vocabulary.is_special(id)) {
            return;
        }
        let bytes = vocabulary.bytes(id);
        if vocabulary.decoding.words && !self.first {
            self.pending.push(b' ');
        }
        let dropped = vocabulary.decoding.drop_in_first.filter(|_| self.first && !vocabulary.is_byte(id));
        match dropped {
            // All of them, wherever in the token: as the Metaspace decoder does.
            Some(_) => self.pending.extend(bytes.iter().filter(|&&b| b != b' ')),
            None => self.pending.extend_from_slice(bytes),
        }
        self.first = false;
        self.take_characters(text, false);
    }

    /// Appends what is left at the end, and starts anew.
    pub fn finish(&mut self, text: &mut String) {
        self.take_characters(text, true);
        *self = DecodeStream::new(Arc::clone(&self.vocabulary), self.skip_special_tokens);
    }

    fn take_characters(&mut self, text: &mut String, last: bool) {
        let start = text.len();
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            let (valid, invalid_bytes) = match std::str::from_utf8(rest) {
                Ok(all) => (all, None),
                Err(error) => {
                    let valid = std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default();
                    (valid, error.error_len().or(last.then_some(rest.len() - valid.len())))
                }
            };
            text.push_str(valid);
            rest = &rest[valid.len()..];
            let Some(invalid_bytes) = invalid_bytes else { break };
            // As the two decoders do: SentencePiece's writes one for each byte, the byte-level one for each sequence.
            let count = if self.vocabulary.decoding.byte_fallback { invalid_bytes } else { 1 };
            (0..count).for_each(|_| text.push_str(REPLACEMENT));
            rest = &rest[invalid_bytes..];
        }
        let done = self.pending.len() - rest.len();
        self.pending.drain(..done);
        self.strip_beginning(text, start);
    }

    fn strip_beginning(&mut self, text: &mut String, start: usize) {
        let Some((content, _)) = self.vocabulary.decoding.strip else { return };
        while self.strip_left > 0 && text.len() > start {
            if text[start..].starts_with(content) {
                text.replace_range(start..start + content.len_utf8(), "");
                self.strip_left -= 1;
            } else {
                self.strip_left = 0;
            }
        }
    }
}

pub fn decode(vocabulary: &Arc<Vocabulary>, ids: &[u32], skip_special_tokens: bool) -> String {
    let mut stream = DecodeStream::new(Arc::clone(vocabulary), skip_special_tokens);
    let mut text = String::with_capacity(ids.len() * 4);
    ids.iter().for_each(|&id| stream.push(id, &mut text));
    stream.finish(&mut text);
    text
}
