"""A stand-in for Claude Code: speaks stream-json on standard input and output, without a model.

A message is a list of things to do, one a line: ``say TEXT``, ``print N`` (N numbered lines),
``write FILE TEXT``, ``run COMMAND`` (in a session of its own, as the real one's shell tool),
``sleep SECONDS``, ``fail TEXT`` (the turn ends badly), ``die STATUS``. Anything else is said.
It ends when its input does, with 1 if the last turn failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

_PRICE = 0.25


def put(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    put({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}})


def do(line: str) -> None:
    word, _, rest = line.partition(" ")
    if word == "print":
        for number in range(int(rest)):
            put({"type": "line", "number": number})
    elif word == "write":
        file, _, text = rest.partition(" ")
        Path(file).write_text(f"{text}\n", encoding="utf-8")
    elif word == "run":
        subprocess.run(["bash", "-c", rest], check=False, start_new_session=True)
    elif word == "sleep":
        time.sleep(float(rest))
    elif word == "die":
        sys.stderr.write("I die\n")
        os._exit(int(rest))
    elif word == "env":
        say(f"{rest}={os.environ.get(rest, '')}")
    else:
        say(rest if word == "say" else line)


class Agent:
    def __init__(self) -> None:
        self.heard: Queue[str | None] = Queue()
        self.interrupted = False
        self.turns = 0
        self.failed = False

    def listen(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if message["type"] == "user":
                self.heard.put(message["message"]["content"])
            elif message["type"] == "control_request":
                self.interrupted = True
                put({"type": "control_response", "response": {"subtype": "success"}})
        self.heard.put(None)

    def turn(self, text: str) -> None:
        self.turns += 1
        self.interrupted = False
        put({"type": "system", "subtype": "init", "session_id": "5e55", "model": "none"})
        why = ""
        for line in text.splitlines():
            if self.interrupted or line.startswith("fail "):
                why = "interrupted" if self.interrupted else line.removeprefix("fail ")
                break
            do(line)
        self.failed = bool(why)
        put(
            {
                "type": "result",
                "subtype": "error_during_execution" if self.interrupted else "success",
                "is_error": self.failed,
                "num_turns": 1,
                "result": why or "done",
                "total_cost_usd": self.turns * _PRICE,
                "usage": {"input_tokens": 100, "output_tokens": 10},
            }
        )


def main() -> int:
    agent = Agent()
    Thread(target=agent.listen, daemon=True).start()
    while (text := agent.heard.get()) is not None:
        agent.turn(text)
    return int(agent.failed)


if __name__ == "__main__":
    sys.exit(main())
