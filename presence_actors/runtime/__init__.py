"""What all asyncio drivers share: the clock, the alarm, and the host that drives one machine.

The only folder that reads a clock.
"""
