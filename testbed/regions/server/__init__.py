"""The program that plays a region; it imports little, because tests start many of them."""
