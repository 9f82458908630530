"""python -m meterport"""

from meterport.cli import main

if __name__ == "__main__":
    main()
