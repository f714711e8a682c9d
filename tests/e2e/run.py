"""End to end: real services, a real agent, real backends. `tests/run e2e` runs all; names of tests run some."""

import pathlib
import sys
import unittest

HERE = str(pathlib.Path(__file__).parent)

if __name__ == "__main__":
    sys.path.insert(0, HERE)
    names = sys.argv[1:]
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names) if names else loader.discover(HERE, pattern="*_test.py")
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(not (result.wasSuccessful() and result.testsRun))
