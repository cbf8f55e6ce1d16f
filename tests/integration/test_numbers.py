"""Tokens never depend on the split: the same requests to meshes of degree 1 and 2."""

from mesh import NAME

REQUESTS = [dict(temperature=temperature, seed=seed, max_tokens=32) for temperature, seed in
            [(0, 1), (0.8, 2), (1.2, 3), (1.0, 4)]]


def answers(mesh):
    return [[t.token for t in mesh.client().chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": f"Write a sentence about {topic}."}], logprobs=True,
        **options).choices[0].logprobs.content] for topic in ("rivers", "the moon") for options in REQUESTS]


def test_degree_one_and_two_give_the_same_tokens(mesh, start_mesh):
    single = start_mesh(cluster="single", size=1)
    assert answers(single) == answers(mesh)
