//! The C edge; ../slmmesh_text.h is its contract. Every function catches panics, and takes only pointers that it or its
//! fellows gave out, or that the header says must be valid.

use std::sync::Arc;

use crate::decoder::{decode, DecodeStream};
use crate::error::{catch, Error, Result};
use crate::template::{ChatTemplate, Conversation};
use crate::tokenizer::Tokenizer;

const OK: i32 = 0;
const INVALID: i32 = 1;
const INTERNAL: i32 = 2;

/// Bytes of the caller's (or, where the header says so, of an object here).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct View {
    data: *const u8,
    size: usize,
}

impl View {
    fn of(bytes: &[u8]) -> View {
        View { data: bytes.as_ptr(), size: bytes.len() }
    }

    unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.size == 0 {
            return &[];
        }
        std::slice::from_raw_parts(self.data, self.size)
    }

    unsafe fn text<'a>(self, name: &str) -> Result<&'a str> {
        let text = std::str::from_utf8(self.bytes());
        text.map_err(|e| Error::invalid(format!("{name}: not valid UTF-8 at byte {}", e.valid_up_to())))
    }
}

/// A Vec handed to the caller, who gives it back to be freed.
#[repr(C)]
pub struct Owned<T> {
    data: *mut T,
    size: usize,
    capacity: usize,
}

impl<T> Owned<T> {
    fn give(values: Vec<T>) -> Owned<T> {
        let mut values = std::mem::ManuallyDrop::new(values);
        Owned { data: values.as_mut_ptr(), size: values.len(), capacity: values.capacity() }
    }

    unsafe fn free(self) {
        if !self.data.is_null() {
            drop(Vec::from_raw_parts(self.data, self.size, self.capacity));
        }
    }
}

pub struct Stream {
    stream: DecodeStream,
    /// What the last call gave out.
    text: String,
}

/// Runs `f`, and writes its error's message to `error`.
unsafe fn run(error: *mut Owned<u8>, f: impl FnOnce() -> Result<()>) -> i32 {
    let Err(failure) = catch(f) else { return OK };
    error.write(Owned::give(failure.message().as_bytes().to_vec()));
    match failure {
        Error::Invalid(_) => INVALID,
        Error::Internal(_) => INTERNAL,
    }
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_free_bytes(bytes: Owned<u8>) {
    bytes.free();
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_free_ids(ids: Owned<u32>) {
    ids.free();
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_tokenizer_create(
    json: View,
    out: *mut *const Tokenizer,
    error: *mut Owned<u8>,
) -> i32 {
    run(error, || {
        out.write(Arc::into_raw(Arc::new(Tokenizer::new(json.text("tokenizer.json")?)?)));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_tokenizer_destroy(tokenizer: *const Tokenizer) {
    drop(Arc::from_raw(tokenizer));
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_encode(
    tokenizer: *const Tokenizer,
    text: View,
    add_special_tokens: bool,
    ids: *mut Owned<u32>,
    error: *mut Owned<u8>,
) -> i32 {
    run(error, || {
        ids.write(Owned::give((*tokenizer).encode(text.text("text")?, add_special_tokens)?));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_decode(
    tokenizer: *const Tokenizer,
    ids: *const u32,
    ids_size: usize,
    skip_special_tokens: bool,
    out: *mut Owned<u8>,
) -> i32 {
    run(out, || {
        let ids = if ids_size == 0 { &[] } else { std::slice::from_raw_parts(ids, ids_size) };
        out.write(Owned::give(decode((*tokenizer).vocabulary(), ids, skip_special_tokens).into_bytes()));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_token_bytes(tokenizer: *const Tokenizer, id: u32) -> View {
    View::of((*tokenizer).vocabulary().bytes(id))
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_is_special(tokenizer: *const Tokenizer, id: u32) -> bool {
    (*tokenizer).vocabulary().is_special(id)
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_token_id(tokenizer: *const Tokenizer, token: View, id: *mut u32) -> bool {
    let found = std::str::from_utf8(token.bytes()).ok().and_then(|token| (*tokenizer).token_id(token));
    found.map(|found| id.write(found)).is_some()
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_vocabulary_size(tokenizer: *const Tokenizer) -> u32 {
    (*tokenizer).vocabulary().size()
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_stream_create(
    tokenizer: *const Tokenizer,
    skip_special_tokens: bool,
) -> *mut Stream {
    let vocabulary = Arc::clone((*tokenizer).vocabulary());
    Box::into_raw(Box::new(Stream { stream: DecodeStream::new(vocabulary, skip_special_tokens), text: String::new() }))
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_stream_destroy(stream: *mut Stream) {
    drop(Box::from_raw(stream));
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_stream_push(
    stream: *mut Stream,
    id: u32,
    out: *mut View,
    error: *mut Owned<u8>,
) -> i32 {
    let Stream { stream, text } = &mut *stream;
    run(error, || {
        text.clear();
        stream.push(id, text);
        out.write(View::of(text.as_bytes()));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_stream_finish(stream: *mut Stream, out: *mut View, error: *mut Owned<u8>) -> i32 {
    let Stream { stream, text } = &mut *stream;
    run(error, || {
        text.clear();
        stream.finish(text);
        out.write(View::of(text.as_bytes()));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_template_create(
    source: View,
    bos_token: View,
    eos_token: View,
    out: *mut *mut ChatTemplate,
    error: *mut Owned<u8>,
) -> i32 {
    run(error, || {
        let (bos, eos) = (bos_token.text("bos_token")?, eos_token.text("eos_token")?);
        out.write(Box::into_raw(Box::new(ChatTemplate::new(source.text("chat template")?, bos, eos)?)));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_template_destroy(template: *mut ChatTemplate) {
    drop(Box::from_raw(template));
}

unsafe fn conversation<'a>(messages: View, add_generation_prompt: bool, extra: View) -> Result<Conversation<'a>> {
    Ok(Conversation {
        messages: messages.text("messages")?,
        add_generation_prompt,
        extra: extra.text("template variables")?,
    })
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_render(
    template: *const ChatTemplate,
    messages: View,
    add_generation_prompt: bool,
    extra: View,
    out: *mut Owned<u8>,
) -> i32 {
    run(out, || {
        let text = (*template).render(&conversation(messages, add_generation_prompt, extra)?)?;
        out.write(Owned::give(text.into_bytes()));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn slmmesh_text_render_tokens(
    template: *const ChatTemplate,
    tokenizer: *const Tokenizer,
    messages: View,
    add_generation_prompt: bool,
    extra: View,
    ids: *mut Owned<u32>,
    error: *mut Owned<u8>,
) -> i32 {
    run(error, || {
        let conversation = conversation(messages, add_generation_prompt, extra)?;
        ids.write(Owned::give((*template).render_tokens(&*tokenizer, &conversation)?));
        Ok(())
    })
}
