"""Clients that ask all the time, in threads; every answer is compared, every error kept."""

import threading
import time

PROMPTS = ["The capital of France is", "Once upon a time", "Water boils at", "1 2 3 4 5 6"]


class Load:
    """Streams, one after the other in each thread. Answers at temperature 0 do not depend on where or beside whom they
    are computed, so each must equal the one of before the trouble. Use as a context manager; then read `failures`."""

    def __init__(self, mesh, clients=3, tokens=24):
        self._mesh = mesh
        self._tokens = tokens
        self._stop = threading.Event()
        self._expected = {prompt: self._stream(mesh.client(), prompt) for prompt in PROMPTS}
        self.failures = []  # of (seconds since the start, what)
        self.answers = 0
        self.longest_gap_s = 0.0  # between two tokens of one stream, the first one's wait included
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(clients)]

    def _stream(self, client, prompt, gaps=None):
        text, last = "", time.monotonic()
        stream = client.completions.create(model=self._mesh.manifest["spec"]["model"]["servedName"], prompt=prompt,
                                           max_tokens=self._tokens, temperature=0, stream=True)
        for chunk in stream:
            now = time.monotonic()
            if gaps is not None:
                gaps.append(now - last)
            last = now
            text += chunk.choices[0].text if chunk.choices else ""
        return text

    def _run(self, index):
        client = self._mesh.client()
        count = index
        while not self._stop.is_set():
            prompt = PROMPTS[count % len(PROMPTS)]
            count += 1
            gaps = []
            try:
                text = self._stream(client, prompt, gaps)
                problem = None if text == self._expected[prompt] else f"{prompt!r} → {text!r}"
            except Exception as error:  # whatever a client can meet is a finding
                problem = f"{type(error).__name__}: {error}"
            with self._lock:
                self.answers += 1
                self.longest_gap_s = max([self.longest_gap_s, *gaps])
                if problem:
                    self.failures.append((round(time.monotonic() - self._begin, 1), problem))
            if problem:
                self._stop.wait(0.2)

    def wait_for_answers(self, count, timeout_s=60):
        """Until `count` more have come."""
        wanted = self.answers + count
        deadline = time.monotonic() + timeout_s
        while self.answers < wanted:
            assert time.monotonic() < deadline, f"no {count} answers within {timeout_s} s; failures: {self.failures}"
            time.sleep(0.05)

    def __enter__(self):
        self._begin = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=150)
