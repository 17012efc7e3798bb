# SPDX-License-Identifier: MIT
#
# A game loop: everything that lives in the game is a tasklet, and time is a channel.
#
# Each turn the loop lets everybody who waits for it go on, and then sleeps until the next
# frame is due. A timer is a tasklet too: it waits for so many turns and then does what it
# was made for. The one who is hit learns that by an exception, wherever it is in its own
# life, and has the last word.
import time

import stackless
from weft import io

FRAME = 0.01  # seconds


class Hit(Exception):
    pass


class Game:
    def __init__(self):
        self.turn = 0
        self.turns = stackless.channel()

    def say(self, text):
        print("turn %d: %s" % (self.turn, text))

    def wait(self, turns=1):
        for _ in range(turns):
            self.turns.receive()

    def after(self, turns, function, *arguments):
        def timer():
            self.wait(turns)
            function(*arguments)

        return stackless.tasklet(timer)()

    def run(self, turns):
        start = time.monotonic()
        for self.turn in range(1, turns + 1):
            # Who waits anew meanwhile waits for the next turn.
            turn, self.turns = self.turns, stackless.channel()
            while turn.balance < 0:
                turn.send(None)
            stackless.run()
            io.sleep(start + self.turn * FRAME - time.monotonic())


class Guard:
    def __init__(self, game, name):
        self.game, self.name = game, name
        self.tasklet = stackless.tasklet(self.live)()

    def live(self):
        try:
            for step in range(1, 100):
                self.game.wait(2)
                self.game.say("%s takes step %d" % (self.name, step))
        except Hit as what:
            self.game.say("%s is hit by %s" % (self.name, what))

    def hit(self, what):
        self.tasklet.throw(Hit, what)


game = Game()
ann, bob = Guard(game, "Ann"), Guard(game, "Bob")
game.after(3, game.say, "a fuse hisses")
bomb = game.after(5, ann.hit, "a bomb")
game.after(6, bob.hit, "an arrow")
stone = game.after(6, bob.hit, "a stone")
game.after(4, stone.kill)
stackless.run()
game.run(8)
