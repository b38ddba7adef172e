"""Load tests of endpoints: what load, how it is made, what came of it. Pure: nothing here sends or waits."""
