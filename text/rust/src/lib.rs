//! Tokenizers and chat templates for C++: see ../slmmesh_text.h for the contract of the C edge (`ffi`).

mod decoder;
mod error;
mod ffi;
mod json;
mod python;
mod template;
mod tokenizer;
mod user_text;
mod vocabulary;
mod words;
