"""The official openai client, against the real router, head and workers."""

import asyncio
import json
import urllib.error
import urllib.request

import openai
import pytest

from mesh import NAME

FRANCE = "What is the capital of France?"


def test_the_capital_of_france_is_paris(mesh):
    answer = mesh.ask(FRANCE, temperature=0, max_tokens=24)
    assert "Paris" in answer.choices[0].message.content
    assert answer.model == NAME
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_models(mesh):
    models = mesh.client().models.list().data
    assert [model.id for model in models] == [NAME]
    assert mesh.client().models.retrieve(NAME).id == NAME


def test_streaming_gives_the_same_text_and_usage(mesh):
    whole = mesh.ask(FRANCE, temperature=0, max_tokens=24)
    chunks = list(mesh.ask(FRANCE, temperature=0, max_tokens=24, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_n_gives_different_choices_and_repeats_with_a_seed(mesh):
    options = dict(n=2, temperature=1.0, max_tokens=16, seed=11)
    first = [c.message.content for c in mesh.ask("Tell me a story.", **options).choices]
    again = [c.message.content for c in mesh.ask("Tell me a story.", **options).choices]
    other = [c.message.content for c in mesh.ask("Tell me a story.", **{**options, "seed": 12}).choices]
    assert first == again
    assert first[0] != first[1]
    assert first != other


def test_stop_strings_are_cut_exactly(mesh):
    plain = mesh.ask(FRANCE, temperature=0, max_tokens=24).choices[0]
    stop = plain.message.content[5:9]
    cut = mesh.ask(FRANCE, temperature=0, max_tokens=24, stop=[stop]).choices[0]
    assert cut.message.content == plain.message.content[: plain.message.content.index(stop)]
    assert cut.finish_reason == "stop"


def test_max_tokens_and_finish_reasons(mesh):
    short = mesh.ask("Count to one hundred.", temperature=0, max_completion_tokens=5)
    assert short.choices[0].finish_reason == "length" and short.usage.completion_tokens == 5


def test_logprobs(mesh):
    choice = mesh.ask(FRANCE, temperature=0, max_tokens=6, logprobs=True, top_logprobs=3).choices[0]
    assert len(choice.logprobs.content) == 6
    for token in choice.logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob)  # greedy: the likeliest
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content


def test_completions_with_echo_batch_and_token_ids(mesh):
    client = mesh.client()
    echoed = client.completions.create(model=NAME, prompt="Once upon a time", max_tokens=4, temperature=0, echo=True)
    plain = client.completions.create(model=NAME, prompt="Once upon a time", max_tokens=4, temperature=0)
    assert echoed.choices[0].text == "Once upon a time" + plain.choices[0].text
    batch = client.completions.create(model=NAME, prompt=["Once upon a time", "Hello"], max_tokens=4, temperature=0)
    assert [choice.index for choice in batch.choices] == [0, 1]
    assert batch.choices[0].text == plain.choices[0].text
    ids = post(mesh, "/tokenize", {"model": NAME, "prompt": "Once upon a time"})["tokens"]
    by_ids = client.completions.create(model=NAME, prompt=ids, max_tokens=4, temperature=0)
    assert by_ids.choices[0].text == plain.choices[0].text
    assert post(mesh, "/detokenize", {"model": NAME, "tokens": ids})["prompt"] == "Once upon a time"


def test_prompt_logprobs_by_echo(mesh):
    result = mesh.client().completions.create(model=NAME, prompt="The capital of France is", max_tokens=1, temperature=0,
                                              echo=True, logprobs=1).choices[0].logprobs
    assert result.token_logprobs[0] is None and all(value <= 0 for value in result.token_logprobs[1:])
    assert "".join(result.tokens).startswith("The capital of France is")


def test_special_tokens_in_user_text_are_not_obeyed(mesh):
    ids = post(mesh, "/tokenize", {"model": NAME, "prompt": "a<|im_end|>b", "add_special_tokens": False})["tokens"]
    end = mesh.client().completions.create(model=NAME, prompt="x", max_tokens=1).choices  # the model answers
    assert end and len(ids) > 3
    assert post(mesh, "/detokenize", {"model": NAME, "tokens": ids})["prompt"] == "a<|im_end|>b"


def test_thirty_two_concurrent_streams_complete(mesh):
    async def one(client, i):
        text, finish = "", None
        stream = await client.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": f"Say something about the number {i}."}],
            temperature=0.7, seed=i, max_tokens=24, stream=True)
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        return text, finish

    async def everyone():
        async with mesh.async_client() as client:
            return await asyncio.gather(*(one(client, i) for i in range(32)))

    results = asyncio.run(everyone())
    assert len(results) == 32 and all(text and finish in ("stop", "length") for text, finish in results)
    # Batch 32 and batch 1 give the same tokens.
    for i in (0, 7, 31):
        alone = mesh.ask(f"Say something about the number {i}.", temperature=0.7, seed=i, max_tokens=24)
        assert alone.choices[0].message.content == results[i][0]


def test_the_prefix_cache_changes_nothing_but_its_count(mesh):
    text = "Here is a long shared preface. " * 12 + "What comes next?"
    first = mesh.ask(text, temperature=0.9, seed=3, max_tokens=16)
    second = mesh.ask(text, temperature=0.9, seed=3, max_tokens=16)
    assert second.usage.prompt_tokens_details.cached_tokens > 0
    assert first.choices[0].message.content == second.choices[0].message.content


def post(mesh, path, body, headers=None):
    request = urllib.request.Request(mesh.url + path, json.dumps(body).encode(),
                                     {"content-type": "application/json", **(headers or {})})
    return json.loads(urllib.request.urlopen(request, timeout=60).read())


@pytest.mark.parametrize("change, status, word", [
    ({"model": "gpt-4"}, 404, "gpt-4"),
    ({"temperature": 9}, 400, "temperature"),
    ({"temperature": "hot"}, 400, "temperature"),
    ({"messages": []}, 400, "messages"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
    ({"response_format": {"type": "json_object"}}, 400, "response_format"),
    ({"frobnicate": 1}, 400, "frobnicate"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"max_tokens": 1000000}, 400, "max_tokens"),
    ({"top_logprobs": 3}, 400, "top_logprobs"),
])
def test_bad_requests_name_the_field(mesh, change, status, word):
    body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, **change}
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(mesh, "/v1/chat/completions", body)
    error = json.loads(caught.value.read())["error"]
    assert caught.value.code == status and word in error["message"]


def test_fields_that_change_nothing_are_accepted(mesh):
    body = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "user": "u",
            "metadata": {"a": "b"}, "store": False, "service_tier": "auto"}
    assert post(mesh, "/v1/chat/completions", body)["choices"]


def test_a_body_that_is_not_json(mesh):
    request = urllib.request.Request(mesh.url + "/v1/chat/completions", b"{", {"content-type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 400 and "error" in json.loads(caught.value.read())


def test_a_prompt_beyond_the_context_is_refused(mesh):
    with pytest.raises(openai.BadRequestError) as caught:
        mesh.ask("word " * 4000, max_tokens=4)
    assert "2048" in str(caught.value)


def test_health_and_readiness(mesh):
    for path in ("/healthz", "/readyz"):
        assert urllib.request.urlopen(mesh.url + path, timeout=10).status == 200
