//! A Hugging Face chat template, rendered as transformers would with jinja2.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::python;
use crate::tokenizer::Tokenizer;

/// Bounds on what a hostile template may take: about a second, and this much text.
const FUEL: u64 = 10_000_000;
const OUTPUT_BYTES_MAX: usize = 64 << 20;
const NAME: &str = "chat_template";

/// Compiled once; may be shared by threads.
pub struct ChatTemplate {
    env: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// One conversation, as JSON.
pub struct Conversation<'a> {
    pub messages: &'a str,
    pub add_generation_prompt: bool,
    /// Merged into the template's variables.
    pub extra: &'a str,
}

impl ChatTemplate {
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<ChatTemplate> {
        let mut env = Environment::new();
        env.set_debug(false); // its reports quote variables
        env.set_fuel(Some(FUEL));
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(describe)?;
        env.set_syntax(syntax);
        env.add_function("raise_exception", |message: String| -> std::result::Result<String, minijinja::Error> {
            Err(minijinja::Error::from(ErrorKind::InvalidOperation).with_source(Raised(message)))
        });
        python::install(&mut env);
        env.add_template_owned(NAME, generation_tags_as_scopes(source)).map_err(describe)?;
        Ok(ChatTemplate { env, bos_token: bos_token.into(), eos_token: eos_token.into() })
    }

    pub fn render(&self, conversation: &Conversation) -> Result<String> {
        let (messages, extra) = conversation.parse()?;
        self.render_values(messages, extra, conversation.add_generation_prompt)
    }

    /// Special tokens that the template writes become their ids; what a message spells is text.
    pub fn render_tokens(&self, tokenizer: &Tokenizer, conversation: &Conversation) -> Result<Vec<u32>> {
        let (mut messages, mut extra) = conversation.parse()?;
        tokenizer.special_tokens().neutralize_json(&mut messages);
        for value in extra.values_mut() {
            tokenizer.special_tokens().neutralize_json(value);
        }
        let text = self.render_values(messages, extra, conversation.add_generation_prompt)?;
        tokenizer.encode_rendered(&text, || self.render(&Conversation::sample()).ok())
    }

    fn render_values(&self, messages: Value, extra: Map<String, Value>, add_generation_prompt: bool) -> Result<String> {
        // Those that transformers always passes; a model without a BOS leaves the name undefined.
        let mut context = Map::from_iter(["tools", "documents"].map(|name| (name.to_string(), Value::Null)));
        for (name, token) in [("bos_token", &self.bos_token), ("eos_token", &self.eos_token)] {
            if !token.is_empty() {
                context.insert(name.into(), token.as_str().into());
            }
        }
        context.extend(extra);
        context.insert("messages".into(), messages);
        context.insert("add_generation_prompt".into(), add_generation_prompt.into());

        let template = self.env.get_template(NAME).map_err(describe)?;
        let mut text = Bounded(Vec::new());
        let context: minijinja::Value = serde_json::from_value(Value::Object(context)).map_err(Error::invalid)?;
        template.render_captured_to(context, &mut text).map_err(describe)?;
        String::from_utf8(text.0).map_err(Error::invalid)
    }
}

impl Conversation<'_> {
    fn sample() -> Conversation<'static> {
        Conversation {
            messages: concat!(r#"[{"role":"user","content":""#, "\u{FDD1}", r#""}]"#),
            add_generation_prompt: true,
            extra: "{}",
        }
    }

    fn parse(&self) -> Result<(Value, Map<String, Value>)> {
        let messages: Value =
            serde_json::from_str(self.messages).map_err(|e| Error::invalid(format!("messages: {e}")))?;
        if !messages.is_array() {
            return Err(Error::invalid("messages: must be a JSON array"));
        }
        let extra = serde_json::from_str(self.extra).map_err(|e| Error::invalid(format!("template variables: {e}")))?;
        Ok((messages, extra))
    }
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::other(format!("the output exceeds {OUTPUT_BYTES_MAX} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// raise_exception(message): what the template's author has to say to the client.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl StdError for Raised {}

fn describe(error: minijinja::Error) -> Error {
    let mut words = Vec::new();
    let mut cause: Option<&dyn StdError> = Some(&error);
    while let Some(current) = cause {
        if let Some(raised) = current.downcast_ref::<Raised>() {
            return Error::invalid(raised);
        }
        words.push(current.to_string());
        cause = current.source();
    }
    Error::invalid(words.join(": "))
}

/// `{% generation %}` marks what an assistant wrote, for training. Here it is only a scope of its own.
fn generation_tags_as_scopes(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |i| i + 2);
        let word = tag[..end].trim_start_matches("{%").trim_end_matches("%}");
        let word = word.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        match word {
            "generation" => out.push_str(&tag[..end].replacen("generation", "with", 1)),
            "endgeneration" => out.push_str(&tag[..end].replacen("endgeneration", "endwith", 1)),
            _ => {
                out.push_str("{%");
                rest = &tag[2..];
                continue;
            }
        }
        rest = &tag[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, extra: &str) -> Result<String> {
        let conversation =
            Conversation { messages: r#"[{"role":"user","content":"hi"}]"#, add_generation_prompt: true, extra };
        ChatTemplate::new(source, "<s>", "")?.render(&conversation)
    }

    #[test]
    fn generation_tags_change_nothing() {
        let source = "a\n{%- generation %}\n b {{ 1 }}\n{%- endgeneration -%}\n c {% set generation = 2 %}";
        assert_eq!(render(source, "{}"), Ok("a b 1c ".into()));
    }

    #[test]
    fn a_hostile_template_ends() {
        let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a %}{% endfor %}{% endfor %}";
        assert!(render(endless, "{}").unwrap_err().message().contains("fuel"));
        let verbose = "{% set s = 'x' * 10000000 %}{% for a in range(99999) %}{{ s }}{% endfor %}";
        assert!(render(verbose, "{}").unwrap_err().message().contains("exceeds"));
        assert!(render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{}").is_err());
        let own = "{% set ns = namespace() %}{% set ns.a = ns %}";
        for written in ["ns|tojson", "ns", "ns|string", "[ns]"] {
            let error = render(&format!("{own}{{{{ {written} }}}}"), "{}").unwrap_err();
            assert!(error.message().contains("nested too deeply"), "{written}");
        }
    }

    #[test]
    fn values_are_written_as_python_does() {
        let extra =
            r#"{"v": ["it's", "a\"b", "'\"", "\u0001\u00ad\u2028é\u0301😀\n\\", 1e16, {"k": [true, null]}], "t": []}"#;
        let text = r#"["it's", 'a"b', '\'"', '\x01\xad\u2028é"#.to_string()
            + "\u{301}"
            + r#"😀\n\\', 1e+16, {'k': [True, None]}]"#;
        assert_eq!(render("{{ v }}", extra), Ok(text.clone()));
        assert_eq!(render("{{ v | string }}", extra), Ok(text));
        assert_eq!(render("{{ t }}{{ (1, 'a') }}{{ (1,) }}{{ missing }}", extra), Ok("[](1, 'a')(1,)".into()));
    }

    #[test]
    fn an_error_names_the_line() {
        assert!(render("a\n{% if %}", "{}").unwrap_err().message().contains("chat_template:2"));
        assert!(render("a\n\n{{ messages.x.y }}", "{}").unwrap_err().message().contains("chat_template:3"));
        assert_eq!(render("{{ raise_exception('Roles!') }}", "{}"), Err(Error::Invalid("Roles!".into())));
    }
}
